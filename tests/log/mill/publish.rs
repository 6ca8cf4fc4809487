//! Publishers: small batches, and uploads that are taken over half-way.

use super::*;

impl Mill {
    /// Small batches with a part for each queue, some delayed, some that expire.
    pub(super) async fn publish_small(self: Arc<Self>, mut rng: Rng) -> Checked {
        let until = Instant::now() + self.size.publishing;
        let mut block = (0, BLOCK);
        while Instant::now() < until {
            let n = rng.u32(1..40);
            let (mut batch, keys) = self.batch(n, &mut block, &mut rng).await?;
            loop {
                let routes = self.store.control.routes(self.topic).await;
                let Ok(routes) = routes else {
                    check!(self.size.failing, "no routes: {routes:?}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                batch.routes_version = routes.version;
                self.ledger.trying(&keys);
                match self.log.publish(&batch).await {
                    Err(LogError::RoutesChanged) => {}
                    answer => {
                        if self.answer(answer)?.is_some() {
                            self.ledger.committed(&keys);
                        }
                        break;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(0..20))).await;
        }
        Ok(())
    }

    pub(super) async fn batch(
        &self,
        n: u32,
        (block, used): &mut (i64, i64),
        rng: &mut Rng,
    ) -> Checked<(NewBatch, Vec<(i32, i64)>)> {
        while *used + i64::from(n) > BLOCK {
            match self.answer(self.log.reserve_block().await)? {
                Some(next) => (*block, *used) = (next, 0),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        let first_id = *block + *used;
        *used += i64::from(n);
        let mut keys = vec![];
        let mut segments = vec![];
        for (at, terms) in self.queues.iter().enumerate() {
            // The first queue takes all, the others by a filter.
            let all = at == 0;
            let taken: Vec<i16> =
                (0..i16::try_from(n).unwrap()).filter(|_| all || rng.u8(..) < 150).collect();
            if taken.is_empty() {
                continue;
            }
            keys.extend(taken.iter().map(|at| (terms.queue, first_id + i64::from(*at))));
            segments.push(NewSegment {
                queue: QueueId(terms.queue),
                taken: if all { Taken::All } else { Taken::Offsets(taken) },
                delay: Duration::from_millis(if rng.u8(..) < 60 { 80 } else { 0 }),
                retention: (terms.expires && rng.bool()).then_some(Duration::from_millis(400)),
            });
        }
        let message = |id: i64| NewMessage {
            row: None,
            data: Bytes::from(format!(r#"{{"id":{id}}}"#)),
            attributes: None,
        };
        let batch = NewBatch {
            topic: self.topic,
            routes_version: 0,
            first_id,
            messages: (first_id..first_id + i64::from(n)).map(message).collect(),
            rows: None,
            segments,
            unrouted: 0,
            once: None,
        };
        Ok((batch, keys))
    }

    /// Uploads one after another, each taken over from its first publisher while that is at work.
    pub(super) async fn publish_uploads(self: Arc<Self>, mut rng: Rng) -> Checked {
        let until = Instant::now() + self.size.publishing;
        while Instant::now() < until && !self.size.failing {
            let new = NewUpload {
                public_id: Uuid::new_v4(),
                run_key: None,
                filename: "rows.xlsx".into(),
                content_hash: String::new(),
                options: "{}".into(),
                topic: self.topic,
                bytes: 0,
                spool: None,
                stream: false,
                corrects: None,
                lease: None,
            };
            let upload = self.store.control.create_upload(new).await?;
            let taken_over = Arc::new(AtomicI64::new(0));
            let mut first = JoinSet::new();
            // Two producers of the first process, side by side.
            for half in 0..2 {
                let (mill, taken_over) = (Arc::clone(&self), Arc::clone(&taken_over));
                let (fence, mut rng) = (upload.fence(), rng.fork());
                first.spawn(async move {
                    for at in (0..BATCHES).filter(|at| at % 2 == half) {
                        let late = taken_over.load(Ordering::SeqCst) == 1;
                        let published = mill.publish_rows(fence, at, &mut rng).await?;
                        check!(!(late && published), "batch {at} was committed after a take-over");
                        if !published {
                            break;
                        }
                    }
                    Ok(())
                });
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(5..60))).await;
            let fence = self.store.control.take_over(upload.id).await?.fence();
            taken_over.store(1, Ordering::SeqCst);
            let covered = self.log.covered(upload.id).await?;
            let there: HashSet<u32> = covered.iter().map(|part| part.first_row.0).collect();
            for at in (0..BATCHES).filter(|at| !there.contains(&(at * ROWS + 2))) {
                check!(self.publish_rows(fence, at, &mut rng).await?, "the successor was refused");
            }
            while let Some(done) = first.join_next().await {
                done.unwrap()?;
            }
            let rows: Vec<u32> =
                self.log.covered(upload.id).await?.iter().map(|part| part.first_row.0).collect();
            let expected: Vec<u32> = (0..BATCHES).map(|at| at * ROWS + 2).collect();
            check_eq!(rows, expected, "the batches of an upload");
            self.log.release(fence, "{}").await?;
        }
        Ok(())
    }

    /// Whether it was committed; not when the upload was taken over.
    pub(super) async fn publish_rows(&self, fence: Fence, at: u32, rng: &mut Rng) -> Checked<bool> {
        let (mut batch, keys) = self.batch(ROWS, &mut (0, BLOCK), rng).await?;
        let first = at * ROWS + 2;
        for (row, message) in (first..).zip(&mut batch.messages) {
            message.row = Some(RowNumber(row));
        }
        batch.rows = Some(RowsOf {
            fence,
            sheet: 0,
            first_row: RowNumber(first),
            last_row: RowNumber(first + ROWS - 1),
            turn: i32::try_from(at).unwrap(),
            held: true,
            findings: vec![],
            duplicates: 0,
        });
        self.ledger.trying(&keys);
        loop {
            batch.routes_version = self.store.control.routes(self.topic).await?.version;
            match self.log.publish(&batch).await {
                Ok(()) => {
                    self.ledger.committed(&keys);
                    return Ok(true);
                }
                Err(LogError::RoutesChanged) => {}
                Err(LogError::LeaseLost) => {
                    self.ledger.refused(&keys);
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
