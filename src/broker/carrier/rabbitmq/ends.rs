//! How deliveries end: acked, released, moved to the dead, or given more time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lapin::types::ShortString;
use tokio::time::Instant;

use super::Shared;
use super::delays::Later;
use super::lane::{Claim, End, Held, Lane};
use super::lanes::Elsewhere;
use super::letter::{Anew, Letter};
use super::send::Addressed;
use crate::broker::carrier::{CarrierError, Each, Failed, Handle};
use crate::domain::QueueName;

/// Deliveries that are being settled, by their place among the handles.
type Claims = Vec<(usize, Claim)>;

/// Those of one lane, and their places.
struct OfLane {
    lane: Arc<Lane>,
    places: Vec<usize>,
    claims: Vec<Claim>,
}

impl Shared {
    /// Those of the handles that may be settled, each with its place, and an answer for each, which
    /// is yet to be changed for those.
    fn claim<'a>(
        &self,
        queue: &QueueName,
        handles: impl Iterator<Item = &'a Handle>,
    ) -> Result<(Claims, Vec<Each>), Elsewhere> {
        let (mut claims, mut answers) = (Claims::new(), Vec::new());
        for (at, handle) in handles.enumerate() {
            let found = self.lanes.find(queue, handle)?;
            claims.extend(found.and_then(|(lane, tag)| lane.claim(tag)).map(|claim| (at, claim)));
            answers.push(Err(Failed::Over));
        }
        Ok((claims, answers))
    }

    /// Settles, and puts the answers in their places. A lane that fails is closed: what was not
    /// settled on it comes again, and either way it is over.
    async fn end(&self, claims: Claims, end: End, answers: &mut [Each]) {
        let mut lanes: HashMap<u64, OfLane> = HashMap::new();
        for (at, claim) in claims {
            let of_lane = lanes.entry(claim.lane.id).or_insert_with(|| OfLane {
                lane: Arc::clone(&claim.lane),
                places: Vec::new(),
                claims: Vec::new(),
            });
            of_lane.places.push(at);
            of_lane.claims.push(claim);
        }
        let settle = async |OfLane { lane, places, claims }| match lane.settle(claims, end).await {
            Ok(()) => {
                self.lanes.tidy(&lane);
                places
            }
            Err(trouble) => {
                tracing::debug!(%trouble, queue = %lane.queue, "they ended with their channel");
                self.lanes.discard(&lane);
                Vec::new()
            }
        };
        for at in join_all(lanes.into_values().map(settle)).await.into_iter().flatten() {
            if let Some(answer) = answers.get_mut(at) {
                *answer = Ok(());
            }
        }
    }

    /// Sends what is claimed anew, and acks what went.
    async fn move_on(
        &self,
        queue: &QueueName,
        claims: Vec<(usize, Claim, Result<Addressed, Failed>)>,
        answers: &mut [Each],
    ) -> Result<(), CarrierError> {
        let (mut letters, mut going) = (Vec::new(), Vec::new());
        for (at, claim, letter) in claims {
            match letter {
                Ok(letter) => {
                    letters.push(letter);
                    going.push((at, claim));
                }
                Err(failed) => put(answers, at, Err(failed)),
            }
        }
        let sent = self.deliver(queue, &letters).await?;
        let mut gone = Claims::new();
        for ((at, claim), sent) in going.into_iter().zip(sent) {
            match sent {
                Ok(()) => gone.push((at, claim)),
                Err(failed) => put(answers, at, Err(failed)),
            }
        }
        self.end(gone, End::Ack, answers).await;
        Ok(())
    }

    /// See [`Carrier::ack`](crate::broker::carrier::Carrier::ack).
    pub(super) async fn ack(
        &self,
        queue: &QueueName,
        handles: &[Handle],
    ) -> Result<Vec<Each>, CarrierError> {
        let (claims, mut answers) = self.claim(queue, handles.iter())?;
        self.end(claims, End::Ack, &mut answers).await;
        Ok(answers)
    }

    /// See [`Carrier::release`](crate::broker::carrier::Carrier::release). A delay makes a new message
    /// of it, which remembers how often the old one was delivered.
    pub(super) async fn release(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, Duration)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let (claims, mut answers) = self.claim(queue, handles.iter().map(|(handle, _)| handle))?;
        let (mut now, mut later) = (Claims::new(), Vec::new());
        for (at, claim) in claims {
            match handles.get(at).map_or(Ok(None), |(_, delay)| Later::of(*delay)) {
                Ok(None) => now.push((at, claim)),
                Err(failed) => later.push((at, claim, Err(failed))),
                Ok(Some(until)) => {
                    let letter = claim.held().map_or(Err(Failed::Over), |held| {
                        let how = Anew::Later(held.attempt, Some(until.due_ms));
                        self.anew(held, how, until.step.queue(queue), Some(until))
                    });
                    later.push((at, claim, letter));
                }
            }
        }
        self.end(now, End::Requeue, &mut answers).await;
        if !later.is_empty() {
            self.move_on(queue, later, &mut answers).await?;
        }
        Ok(answers)
    }

    /// See [`Carrier::dead`](crate::broker::carrier::Carrier::dead).
    pub(super) async fn dead(
        &self,
        queue: &QueueName,
        handles: Vec<(Handle, String)>,
    ) -> Result<Vec<Each>, CarrierError> {
        let Some(dead) = self.known.get(queue).and_then(|known| known.dead) else {
            return Err(CarrierError::Unsupported {
                what: "moving to the dead",
                why: "this process was told of no dead queue of this queue",
            });
        };
        let (claims, mut answers) = self.claim(queue, handles.iter().map(|(handle, _)| handle))?;
        let key = ShortString::from(dead.as_str());
        let letter = |(at, claim): (usize, Claim)| {
            let reason = handles.get(at).map_or("", |(_, reason)| reason.as_str());
            let letter = claim.held().map_or(Err(Failed::Over), |held| {
                self.anew(held, Anew::Dead(reason), key.clone(), None)
            });
            (at, claim, letter)
        };
        let claims = claims.into_iter().map(letter).collect();
        self.move_on(&dead, claims, &mut answers).await?;
        Ok(answers)
    }

    /// See [`Carrier::redrive`](crate::broker::carrier::Carrier::redrive).
    pub(super) async fn redrive(
        self: &Arc<Self>,
        from: &QueueName,
        to: &QueueName,
        most: usize,
    ) -> Result<u64, CarrierError> {
        let (key, mut moved) = (ShortString::from(to.as_str()), 0);
        while moved < most {
            let step = self.limits.redrive_step.clamp(1, most - moved);
            let taken = self.take(from, step, Duration::ZERO).await?;
            if taken.is_empty() {
                break;
            }
            let (claims, mut answers) =
                self.claim(from, taken.iter().map(|taken| &taken.handle))?;
            let letter = |(at, claim): (usize, Claim)| {
                let anew = |held| self.anew(held, Anew::Fresh, key.clone(), None);
                let letter = claim.held().map_or(Err(Failed::Over), anew);
                (at, claim, letter)
            };
            let claims = claims.into_iter().map(letter).collect();
            let gone = self.move_on(to, claims, &mut answers).await;
            // What did not go is where it was, at once.
            let left = taken.iter().zip(&answers).filter(|(_, answer)| answer.is_err());
            let (left, mut ignored) = self.claim(from, left.map(|(taken, _)| &taken.handle))?;
            let stuck = !left.is_empty();
            self.end(left, End::Requeue, &mut ignored).await;
            gone?;
            moved += answers.iter().filter(|answer| answer.is_ok()).count();
            if stuck {
                break;
            }
        }
        Ok(u64::try_from(moved).unwrap_or(u64::MAX))
    }

    /// See [`Carrier::extend`](crate::broker::carrier::Carrier::extend).
    pub(super) fn extend(
        &self,
        queue: &QueueName,
        handles: &[Handle],
        lasting: Duration,
    ) -> Result<Vec<Each>, CarrierError> {
        let until = Instant::now() + lasting;
        let extend = |handle| {
            let found = self.lanes.find(queue, handle)?;
            let extended = found.is_some_and(|(lane, tag)| lane.extend(tag, until));
            Ok(if extended { Ok(()) } else { Err(Failed::Over) })
        };
        let answers = handles.iter().map(extend).collect::<Result<_, CarrierError>>();
        self.warden.look_at(until);
        answers
    }

    fn anew(
        &self,
        held: &Held,
        how: Anew<'_>,
        key: ShortString,
        later: Option<Later>,
    ) -> Result<Addressed, Failed> {
        let letter = Letter::anew(&held.body, &held.properties, how, key, self.sizes())?;
        Ok(Addressed { letter, later })
    }
}

fn put(answers: &mut [Each], at: usize, answer: Each) {
    if let Some(place) = answers.get_mut(at) {
        *place = answer;
    }
}
