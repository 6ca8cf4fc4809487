//! What a pause holds back, and a resume brings back.

use super::*;

impl Model {
    /// Whether a message is of a paused upload.
    pub(super) fn is_paused(&self, id: i64) -> bool {
        let upload = self.contents[&id].upload.and_then(|upload| self.uploads.get(&upload));
        upload.is_some_and(|upload| upload.paused.is_some())
    }

    pub(crate) fn pause(&mut self, upload: i64) {
        let (now, contents) = (self.now, &self.contents);
        let steered = self.uploads.get_mut(&upload).unwrap();
        if steered.paused.is_some() {
            return;
        }
        steered.paused = Some(now);
        for queue in self.queues.values_mut() {
            for (id, spot) in &mut queue.messages {
                match spot {
                    _ if contents[id].upload != Some(upload) => {}
                    Spot::Fresh { held, .. } => *held = true,
                    Spot::Waiting { held, .. } => *held = queue.counted,
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn resume(&mut self, upload: i64) {
        let (now, contents) = (self.now, &self.contents);
        let steered = self.uploads.get_mut(&upload).unwrap();
        let Some(paused) = steered.paused.take() else { return };
        if !steered.stream && steered.published.is_none() {
            return;
        }
        let let_go = steered.published.filter(|_| !steered.stream).unwrap_or(0);
        for (id, spot) in self.queues.values_mut().flat_map(|queue| &mut queue.messages) {
            match spot {
                _ if contents[id].upload != Some(upload) => {}
                Spot::Fresh { held: held @ true, created, expires, .. } => {
                    *held = false;
                    let stood = now - paused.max(let_go).max(*created);
                    *expires = expires.map(|at| at + stood);
                }
                Spot::Waiting { held: held @ true, available, expires, .. } => {
                    *held = false;
                    *available = now.max(*available);
                    *expires = expires.map(|at| at + now - paused);
                }
                _ => {}
            }
        }
    }
}
