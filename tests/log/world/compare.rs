//! Whether the tables, and what the log tells of an upload, are what the model says.

use super::*;

impl World<'_> {
    /// Every message where the model has it, and none anywhere else.
    pub(super) fn compare(&self, places: &Places) -> Checked {
        let mut expected = 0;
        for (queue, terms) in &self.model.queues {
            for (id, spot) in &terms.messages {
                expected += 1;
                let Some(found) = places.get(&(*queue, *id)) else {
                    return Err(Violation(format!(
                        "message {id} of queue {queue} is lost; it should be {spot:?}"
                    )));
                };
                check!(
                    self.same(spot, &found.place),
                    "message {id} of queue {queue}:\n  is        {found:?}\n  should be {spot:?}"
                );
                check_eq!(found.upload, self.model.contents[id].upload, "upload of message {id}");
            }
        }
        if places.len() != expected {
            let known = |(queue, id): &&(i32, i64)| {
                self.model.queues.get(queue).is_some_and(|queue| queue.messages.contains_key(id))
            };
            let extra = places.keys().find(|key| !known(key));
            return Err(Violation(format!("in the tables, and should not be: {extra:?}")));
        }
        Ok(())
    }

    pub(super) fn same(&self, spot: &Spot, place: &Place) -> bool {
        let at = |real: i64, model: i64| self.model.is_at(real, model);
        let at_all = |real: &Option<i64>, model: &Option<i64>| self.model.is_at_all(*real, *model);
        match (spot, place) {
            (
                Spot::Fresh { held, available, expires, .. },
                Place::Fresh { held: h, available_at, expires_at },
            ) => held == h && at(*available_at, *available) && at_all(expires_at, expires),
            (
                Spot::Hands { receipt, position, attempt, expires },
                Place::Hands { receipt: r, position: p, attempt: a, expires_at },
            ) => (receipt, position, attempt) == (r, p, a) && at_all(expires_at, expires),
            (
                Spot::Waiting { held, attempts, available, expires, error },
                Place::Waiting { held: h, attempts: a, available_at, expires_at, error: e },
            ) => {
                (held, attempts, error) == (h, a, e)
                    && at(*available_at, *available)
                    && at_all(expires_at, expires)
            }
            (
                Spot::Ended { kind, attempts, item, .. },
                Place::Ended { kind: k, attempts: a, item: i },
            ) => {
                let first = u16::from(*kind <= 2);
                (kind, *attempts, item) == (k, a.unwrap_or(first), i)
            }
            _ => false,
        }
    }

    /// What the log tells of an upload and a queue.
    pub(super) async fn check_upload(&self, upload: &Upload, queue: i32) -> Checked {
        let id = upload.id;
        let counts = self.log.counts(id, QueueId(queue)).await?;
        check_eq!(counts, self.model.counts(id.0, queue), "counts of {id:?} in queue {queue}");
        check_eq!(self.log.covered(id).await?, upload.covered, "rows covered of {id:?}");
        // Every copy is somewhere: so the sums close when all have ended.
        let copies = self.log.standing(id).await?.copies;
        check_eq!(copies, self.model.copies(id.0), "copies of {id:?}");
        let findings = self.log.findings(id, 1000).await?;
        check_eq!(findings.len(), upload.covered.len(), "findings of {id:?}");
        let mut expected = self
            .model
            .contents
            .iter()
            .filter(|(_, content)| content.upload == Some(id.0))
            .collect::<Vec<_>>();
        expected.sort_by_key(|(_, content)| content.place);
        let mut expected = expected.into_iter();
        let mut after = Some(PageAfter::default());
        while let Some(from) = after {
            let (rows, next) = self.log.rows(id, QueueId(queue), from, 2).await?;
            for row in rows {
                let Some((message, content)) = expected.next() else {
                    return Err(Violation(format!("a row too many: {row:?}")));
                };
                check_eq!(
                    (row.id, Some((row.sheet, row.row.0)), &*row.data),
                    (*message, content.place, content.data.as_str()),
                    "the next row of {id:?}"
                );
                let ended = row.ended.map(|ended| {
                    let item = ended.output.or(ended.error).map(String::from);
                    (ended.kind.number(), ended.attempts, item)
                });
                let should = match self.model.queues[&queue].messages.get(message) {
                    Some(Spot::Ended { kind, attempts, item, .. }) => {
                        Some((*kind, *attempts, item.clone()))
                    }
                    _ => None,
                };
                check_eq!(ended, should, "the end of row {} of {id:?}", row.row);
            }
            after = next;
        }
        check!(expected.next().is_none(), "rows of {id:?} are missing");
        Ok(())
    }
}
