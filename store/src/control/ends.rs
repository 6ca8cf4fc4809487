//! What a queue may be tied to: its topic and its dead queue.
//!
//! A dead queue belongs to one queue, takes from no topic, and is new to messages when it becomes
//! one: so no message comes into it twice. All is looked at within the transaction that writes it.

use std::collections::HashSet;

use rowmill_entity::queue;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, Statement,
};

use super::ChangeError;
use super::queues::queue_named;
use super::terms::QueueTerms;
use super::topics::topic_named;
use rowmill_domain::QueueName;

/// What a queue is tied to, by numbers.
pub(super) struct Ends {
    pub(super) topic: Option<i32>,
    pub(super) dead_queue: Option<i32>,
}

/// Finds what the terms name, and makes sure that it may be so.
pub(super) async fn ends(
    tx: &DatabaseTransaction,
    name: &QueueName,
    present: Option<&queue::Model>,
    terms: &QueueTerms,
) -> Result<Ends, ChangeError> {
    let topic = match &terms.topic {
        Some(name) => {
            let found = topic_named(tx, name).await?;
            Some(found.ok_or_else(|| ChangeError::UnknownTopic(name.clone()))?.id)
        }
        None => None,
    };
    if topic.is_some() && present.is_some_and(|present| present.keeps_dead) {
        return Err(ChangeError::KeepsDead);
    }
    let dead_queue = match &terms.dead_queue {
        Some(dead) if dead == name => return Err(ChangeError::OwnDeadQueue),
        Some(dead) => Some(dead_queue(tx, dead, present).await?),
        None => None,
    };
    Ok(Ends { topic, dead_queue })
}

/// A queue that may be the dead queue of `present`, or of one that is made.
async fn dead_queue(
    tx: &DatabaseTransaction,
    name: &QueueName,
    present: Option<&queue::Model>,
) -> Result<i32, ChangeError> {
    let dead = queue_named(tx, name).await?;
    let dead = dead.ok_or_else(|| ChangeError::UnknownDeadQueue(name.clone()))?;
    if let Some(present) = present
        && leads_to(tx, &dead, present.id).await?
    {
        return Err(ChangeError::Cycle(name.clone()));
    }
    let owner =
        queue::Entity::find().filter(queue::Column::DeadQueueId.eq(dead.id)).one(tx).await?;
    match owner {
        Some(owner) if present.is_some_and(|present| present.id == owner.id) => Ok(dead.id),
        Some(owner) => Err(ChangeError::DeadQueueTaken { dead: name.clone(), owner: owner.name }),
        None if dead.topic_id.is_some() => Err(ChangeError::DeadQueueHasTopic(name.clone())),
        None if has_seen_messages(tx, dead.id).await? => {
            Err(ChangeError::DeadQueueUsed(name.clone()))
        }
        None => Ok(dead.id),
    }
}

/// Whether what dies in `from` comes to the queue `to` in the end.
async fn leads_to(
    tx: &DatabaseTransaction,
    from: &queue::Model,
    to: i32,
) -> Result<bool, ChangeError> {
    let mut seen = HashSet::new();
    let mut next = from.dead_queue_id;
    while let Some(id) = next {
        if id == to {
            return Ok(true);
        }
        // Whoever provides queues without being asked may have made a ring: it is walked once.
        if !seen.insert(id) {
            break;
        }
        let queue = queue::Entity::find_by_id(id).one(tx).await?;
        next = queue.and_then(|queue| queue.dead_queue_id);
    }
    Ok(false)
}

/// Whether a queue holds messages, or has a record of some that it held.
async fn has_seen_messages(tx: &DatabaseTransaction, queue: i32) -> Result<bool, ChangeError> {
    let tables = ["segment", "lease", "redelivery", "outcome"];
    let looks = tables.map(|table| format!("select 1 as one from {table} where queue_id={queue}"));
    // Each with its own end: a look at one table need not go through it.
    let looks = looks.map(|look| format!("select * from ({look} limit 1) x"));
    let all = Statement::from_string(tx.get_database_backend(), looks.join(" union all "));
    Ok(tx.query_one_raw(all).await?.is_some())
}
