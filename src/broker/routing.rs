//! What publishing of every kind needs: the routes of topics as last read, and places in the order
//! of messages.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tokio::sync::Mutex;

use super::cache::{read, write};
use super::published::Ticket;
use crate::store::control::Routes;
use crate::store::log::{BLOCK, LogError, TopicId};
use crate::store::{Store, StoreError};

/// Routes and places, for one process.
#[derive(Debug)]
pub(super) struct Routing {
    pub(super) store: Store,
    routes: RwLock<HashMap<TopicId, Arc<Routes>>>,
    /// What is left of the block that batches of rows take their ids from.
    rows: Mutex<Ticket>,
    /// The same for other messages, which may not be divided among blocks.
    messages: Mutex<Ticket>,
}

impl Routing {
    pub(super) fn new(store: Store) -> Self {
        let none = || Mutex::new(Ticket { first_id: 0, room: 0 });
        Self { store, routes: RwLock::default(), rows: none(), messages: none() }
    }

    /// The topic's routes: as last read, or read anew.
    pub(super) async fn routes(
        &self,
        topic: TopicId,
        anew: bool,
    ) -> Result<Arc<Routes>, StoreError> {
        let known = read(&self.routes).get(&topic).cloned();
        if let Some(routes) = known.filter(|_| !anew) {
            return Ok(routes);
        }
        let routes = Arc::new(self.store.control.routes(topic).await?);
        write(&self.routes).insert(topic, Arc::clone(&routes));
        Ok(routes)
    }

    /// A place for up to `most` rows: what is left of a block, if it is less.
    pub(super) async fn reserve(&self, most: usize) -> Result<Ticket, LogError> {
        let mut block = self.rows.lock().await;
        if block.room == 0 {
            *block = self.fresh().await?;
        }
        let room = block.room.min(most.max(1));
        Ok(take(&mut block, room))
    }

    /// A place for exactly `n` messages, at most a block.
    pub(super) async fn reserve_whole(&self, n: usize) -> Result<Ticket, LogError> {
        let mut block = self.messages.lock().await;
        if block.room < n {
            *block = self.fresh().await?;
        }
        Ok(take(&mut block, n))
    }

    async fn fresh(&self) -> Result<Ticket, LogError> {
        let first_id = self.store.log.reserve_block().await?;
        Ok(Ticket { first_id, room: usize::try_from(BLOCK).unwrap_or(1) })
    }
}

fn take(block: &mut Ticket, room: usize) -> Ticket {
    let ticket = Ticket { first_id: block.first_id, room };
    block.first_id += i64::try_from(room).unwrap_or(0);
    block.room -= room;
    ticket
}
