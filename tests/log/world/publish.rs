//! Publishing, and the ends of uploads.

use super::*;

impl World<'_> {
    pub(super) async fn new_upload(&mut self, held: bool) -> Checked<Upload> {
        let new = NewUpload {
            public_id: Uuid::new_v4(),
            run_key: None,
            filename: "rows.xlsx".into(),
            content_hash: String::new(),
            options: "{}".into(),
            topic: self.topic,
            bytes: 0,
            spool: None,
            stream: !held,
            corrects: None,
            lease: None,
        };
        let upload = self.store.control.create_upload(new).await?;
        let Fence { upload: id, epoch } = upload.fence();
        let steered = Steered { stream: !held, published: None, paused: None };
        self.model.uploads.insert(id.0, steered);
        Ok(Upload { id, epoch, held, turn: 0, next_row: 2, covered: vec![] })
    }

    pub(super) async fn publish(
        &mut self,
        upload: Option<u8>,
        size: u8,
        takes: &[u16; ROUTED],
        at_end: bool,
        fault: Fault,
    ) -> Checked {
        let mut takes = *takes;
        for (takes, queue) in takes.iter_mut().zip(&self.queues) {
            if self.model.queues[queue].deleted {
                *takes = 0;
            }
        }
        let size = if upload.is_some() { size } else { size.max(1) };
        let first_id = self.ids(i64::from(size), at_end).await?;
        let upload_id = upload.map(|at| self.uploads[usize::from(at)].id.0);
        let mut contents = vec![];
        let first_row = upload.map_or(0, |at| self.uploads[usize::from(at)].next_row);
        // Every third row was blank: covered, and no message.
        let row_of = |offset: u32| first_row + offset + offset / 2;
        for offset in 0..u32::from(size) {
            self.serial += 1;
            contents.push(Content {
                upload: upload_id,
                place: upload.map(|at| (u16::from(at), row_of(offset))),
                data: format!(r#"{{"serial":{}}}"#, self.serial),
                attributes: offset.is_multiple_of(3).then(|| r#"{"a":"b"}"#.to_owned()),
                created: self.model.now,
            });
        }
        let offsets = |mask: u16| (0..i16::from(size)).filter(move |at| mask >> at & 1 == 1);
        let segments = takes.iter().zip(&self.queues).filter_map(|(mask, queue)| {
            let terms = &self.model.queues[queue];
            let taken: Vec<i16> = offsets(*mask).collect();
            let taken = match taken.len() {
                0 => return None,
                // Everything may be said in both ways.
                n if n == usize::from(size) && *mask == u16::MAX => Taken::All,
                _ => Taken::Offsets(taken),
            };
            Some(NewSegment {
                queue: QueueId(*queue),
                taken,
                delay: millis(terms.delay),
                retention: terms.retention.map(millis),
            })
        });
        let nobody = (0..size).filter(|at| takes.iter().all(|mask| mask >> at & 1 == 0));
        let unrouted = u32::try_from(nobody.count()).unwrap();
        let last_row = row_of(u32::from(size)) + 1;
        let batch = NewBatch {
            topic: self.topic,
            routes_version: self.routes - i32::from(fault == Fault::OldRoutes),
            first_id,
            messages: contents
                .iter()
                .map(|content| NewMessage {
                    row: content.place.map(|(_, row)| RowNumber(row)),
                    data: Bytes::from(content.data.clone()),
                    attributes: content.attributes.as_deref().map(Into::into),
                })
                .collect(),
            rows: upload.map(|at| {
                let upload = &self.uploads[usize::from(at)];
                RowsOf {
                    fence: upload.fence(fault),
                    sheet: u16::from(at),
                    first_row: RowNumber(first_row),
                    last_row: RowNumber(last_row),
                    turn: upload.turn,
                    held: upload.held,
                    findings: vec![(RowNumber(first_row), format!("{{\"n\":{first_row}}}"))],
                    duplicates: 0,
                }
            }),
            segments: segments.collect(),
            unrouted,
            once: None,
        };
        let published = self.log.publish(&batch).await;
        match fault {
            Fault::OldRoutes => {
                check!(matches!(published, Err(LogError::RoutesChanged)), "{published:?}");
                return Ok(());
            }
            Fault::OldEpoch if upload.is_some() => {
                check!(matches!(published, Err(LogError::LeaseLost)), "{published:?}");
                return Ok(());
            }
            _ => published?,
        }
        let held = upload.is_some_and(|at| self.uploads[usize::from(at)].held);
        for (offset, content) in (0..).zip(contents) {
            self.model.contents.insert(first_id + offset, content);
        }
        for (mask, queue) in takes.iter().zip(&self.queues) {
            for offset in offsets(*mask) {
                self.model.publish(*queue, first_id + i64::from(offset), held);
            }
        }
        if let Some(at) = upload {
            let upload = &mut self.uploads[usize::from(at)];
            upload.turn += 1;
            upload.next_row = last_row + 1;
            upload.covered.push(Covered {
                sheet: u16::from(at),
                first_row: RowNumber(first_row),
                last_row: RowNumber(last_row),
                messages: u32::from(size),
                unrouted,
            });
        }
        Ok(())
    }

    /// `n` ids within a block: the next of the one in use, the last of it, or the first of another.
    pub(super) async fn ids(&mut self, n: i64, at_end: bool) -> Checked<i64> {
        // An empty batch has an id too.
        let n = n.max(1);
        if self.used + n > BLOCK {
            self.block = self.log.reserve_block().await?;
            check_eq!(self.block % BLOCK, 0, "the first id of a block");
            self.used = 0;
        }
        let first = if at_end { BLOCK - n } else { self.used };
        self.used = first + n;
        Ok(self.block + first)
    }

    pub(super) async fn finish(&mut self, at: usize, discard: bool, fault: Fault) -> Checked {
        let upload = &self.uploads[at];
        let (id, held) = (upload.id, upload.held);
        let fence = upload.fence(fault);
        // What was not held is in consumers' hands by now; only what was can be taken back.
        let discard = discard && held;
        let finished = if discard {
            self.log.discard(fence, r#"{"title":"bad"}"#).await
        } else {
            self.log.release(fence, "{}").await
        };
        if fault == Fault::OldEpoch {
            check!(matches!(finished, Err(LogError::LeaseLost)), "{finished:?}");
            return Ok(());
        }
        finished?;
        if discard {
            self.model.discard(id.0);
            self.model.uploads.remove(&id.0);
            self.uploads[at].covered.clear();
        } else {
            self.model.release(id.0);
        }
        self.check_upload(&self.uploads[at], self.queues[0]).await?;
        self.uploads[at] = self.new_upload(held).await?;
        Ok(())
    }
}
