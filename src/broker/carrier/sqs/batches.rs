//! Many things asked for in requests of up to ten, several of them at once, each with its own answer.
//!
//! An engine answers a batch with success although some of its entries failed. Each that failed is
//! told apart: what is the sender's fault stays failed, the rest is tried again with back-off and
//! jitter, and reported when that did not help.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_sqs::types::BatchResultErrorEntry;
use futures::StreamExt as _;
use futures::stream;
use tokio::time::sleep;

use super::super::{CarrierError, Each, Failed};
use super::SqsLimits;
use super::faults::{Fate, Trouble, fate};
use crate::domain::QueueName;

/// Entries of a request.
pub(super) const BATCH: usize = 10;

/// What the engine said of a request's entries.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The ids of those that went through.
    pub(super) done: Vec<String>,
    /// The others.
    pub(super) failed: Vec<BatchResultErrorEntry>,
}

/// The id of an entry within its request.
pub(super) fn id_of(place: usize) -> String {
    place.to_string()
}

/// How the entries of one call stand.
struct Round {
    each: Vec<(usize, Each)>,
    /// Why the engine did not answer, if it did not.
    away: Option<Trouble>,
}

/// Asks for `0..count`, in the given batches; answers each in its place.
///
/// `ask` is given places, and asks for these in one request whose entries have the ids [`id_of`].
///
/// # Errors
/// [`CarrierError`] when a request failed for a reason that is no entry's; an outage only if no
/// entry at all went through, because it is then certain that all may be asked for again.
pub(super) async fn each<A>(
    limits: &SqsLimits,
    queue: &QueueName,
    count: usize,
    batches: Vec<Vec<usize>>,
    ask: impl Fn(Vec<usize>) -> A + Sync,
) -> Result<Vec<Each>, CarrierError>
where
    A: Future<Output = Result<Answer, Trouble>> + Send,
{
    let (ask, gone) = (&ask, &AtomicBool::new(false));
    let mut rounds = stream::iter(batches.into_iter().map(|batch| one(limits, batch, ask, gone)))
        .buffer_unordered(limits.requests_at_once.max(1));
    // Whoever is asked for and not answered at all was in no batch: it is answered by the caller.
    let mut answers: Vec<Each> = vec![Ok(()); count];
    let (mut went_through, mut away) = (0, None);
    while let Some(round) = rounds.next().await {
        let round = round.map_err(|trouble| trouble.about(queue))?;
        away = away.or(round.away);
        for (place, answer) in round.each {
            went_through += usize::from(!matches!(answer, Err(Failed::NotTaken(_))));
            answers[place] = answer;
        }
    }
    match away {
        Some(trouble) if went_through == 0 => Err(trouble.about(queue)),
        _ => Ok(answers),
    }
}

/// One batch, until each of its entries is settled or was tried often enough. `gone`: the engine did
/// not answer another batch, and every one has had the whole patience with it already.
async fn one<A>(
    limits: &SqsLimits,
    batch: Vec<usize>,
    ask: &(impl Fn(Vec<usize>) -> A + Sync),
    gone: &AtomicBool,
) -> Result<Round, Trouble>
where
    A: Future<Output = Result<Answer, Trouble>> + Send,
{
    let mut round = Round { each: Vec::with_capacity(batch.len()), away: None };
    // Batches still to be asked for, with how often they were.
    let mut left = vec![(batch, 1_u16)];
    while let Some((batch, attempt)) = left.pop() {
        if gone.load(Ordering::Relaxed) {
            let untried = Failed::NotTaken("the engine does not answer".to_owned());
            round.each.extend(batch.into_iter().map(|place| (place, Err(untried.clone()))));
            continue;
        }
        let (again, why) = match ask(batch.clone()).await {
            Ok(answer) => round.read(batch, &answer),
            // One of them is to blame: alone, each gets its own answer.
            Err(Trouble::Entry(_)) if batch.len() > 1 => {
                left.extend(batch.into_iter().map(|place| (vec![place], attempt)));
                continue;
            }
            Err(Trouble::Entry(said)) => {
                let refused = |place| (place, Err(Failed::Refused(said.0.clone())));
                round.each.extend(batch.into_iter().map(refused));
                continue;
            }
            Err(Trouble::Away(said)) => {
                gone.store(true, Ordering::Relaxed);
                let lost = |place| (place, Err(Failed::NotTaken(said.0.clone())));
                round.each.extend(batch.into_iter().map(lost));
                round.away = Some(Trouble::Away(said));
                continue;
            }
            Err(trouble) => return Err(trouble),
        };
        if again.is_empty() {
            continue;
        }
        if attempt >= limits.tries {
            let tired = |place| (place, Err(Failed::NotTaken(why.clone())));
            round.each.extend(again.into_iter().map(tired));
            continue;
        }
        sleep(limits.backoff.wait(attempt, fastrand::f64())).await;
        left.push((again, attempt + 1));
    }
    Ok(round)
}

impl Round {
    /// Reads an answer; gives back what is to be asked for again, and why.
    fn read(&mut self, batch: Vec<usize>, answer: &Answer) -> (Vec<usize>, String) {
        let mut again = Vec::new();
        let mut why = "the engine did not say what became of it".to_owned();
        for place in batch {
            let id = id_of(place);
            if answer.done.contains(&id) {
                self.each.push((place, Ok(())));
                continue;
            }
            match answer.failed.iter().find(|entry| entry.id() == id).map(fate) {
                Some(Fate::Settled(failed)) => self.each.push((place, Err(failed))),
                Some(Fate::Again(told)) => {
                    why = told;
                    again.push(place);
                }
                None => again.push(place),
            }
        }
        (again, why)
    }
}

/// Places in batches of as many as a request takes.
pub(super) fn by_count(places: impl IntoIterator<Item = usize>) -> Vec<Vec<usize>> {
    by_size(places.into_iter().map(|place| (place, 0)), 0)
}

/// Places in batches of as many as a request takes, none larger than `most` bytes together, unless
/// one alone is.
pub(super) fn by_size(
    places: impl IntoIterator<Item = (usize, usize)>,
    most: usize,
) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut filled = 0;
    for (place, size) in places {
        match batches.last_mut() {
            Some(last) if last.len() < BATCH && filled + size <= most => {
                last.push(place);
                filled += size;
            }
            _ => {
                batches.push(vec![place]);
                filled = size;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_full_and_none_is_too_large() {
        assert_eq!(by_count(0..0), Vec::<Vec<usize>>::new());
        let sizes: Vec<_> = by_count(0..25).iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
        let places = [4, 4, 4, 20, 1, 1].into_iter().enumerate();
        assert_eq!(by_size(places, 10), [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
    }
}
