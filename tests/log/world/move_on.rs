//! What moves messages, or removes them, without a delivery.

use super::*;

impl World<'_> {
    pub(super) async fn redrive(&mut self, from: i32, to: i32, step: u32) -> Checked {
        let redriven = self.log.redrive(QueueId(from), QueueId(to), step).await?;
        check_eq!(redriven, self.model.redrive(from, to), "redriven from {from} to {to}");
        Ok(())
    }

    /// As the control plane does it: the row stays, under another name, tied to nothing.
    pub(super) async fn delete(&mut self, queue: i32) -> Checked {
        if self.model.queues[&queue].deleted {
            return Ok(());
        }
        let now = self.store.clock.now_ms();
        let topic = self.topic.0;
        for sql in [
            format!("update topic set version=version+1 where id={topic}"),
            format!("update queue set dead_queue_id=null where dead_queue_id={queue}"),
            format!(
                "update queue set name=name||'/{queue}', topic_id=null, dead_queue_id=null, \
                 deleted_at={now} where id={queue}"
            ),
        ] {
            execute(&self.store, &sql).await?;
        }
        self.routes += 1;
        self.model.delete(queue);
        Ok(())
    }

    /// Answers how many messages were removed; which of them is the log's to choose.
    pub(super) async fn remove(&mut self, most: u32) -> Checked<u64> {
        let removed = self.log.remove_deleted(most).await?;
        let places = Tables::read(&self.store).await?.places()?;
        let mut gone = vec![];
        for (queue, terms) in self.model.queues.iter().filter(|(_, terms)| terms.deleted) {
            // What has ended, and is not recorded, went before.
            let ids = terms.messages.keys().filter(|id| !places.contains_key(&(*queue, **id)));
            gone.extend(ids.map(|id| (*queue, *id)));
        }
        check_eq!(removed, gone.len() as u64, "removed of deleted queues");
        check!(removed > 0 || self.model.none_deleted(), "nothing was removed");
        for (queue, id) in gone {
            self.model.forget(queue, id);
        }
        Ok(removed)
    }

    /// One way round.
    pub(super) async fn tidy(&mut self, ticks: u8, most: u32) -> Checked {
        let age = i64::from(ticks) * TICK + TICK / 2;
        let (mut removed, mut next) = (0, Some(0));
        while let Some(from) = next {
            let (n, after) = self.log.remove_ended(from, millis(age), most).await?;
            check!(after.is_none_or(|after| after > from), "the look for what ended stands still");
            (removed, next) = (removed + n, after);
        }
        check_eq!(removed, self.model.tidy(age), "removed because it ended long ago");
        Ok(())
    }
}
