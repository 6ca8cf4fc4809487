//! Sending until each parcel is kept, or is known not to be.

use lapin::types::ShortString;

use super::Shared;
use super::agenda::Place;
use super::delays::Later;
use super::letter::{Letter, Sizes};
use super::post::Posted;
use super::trouble::{Pauses, Trouble};
use crate::broker::carrier::{CarrierError, Each, Failed, Parcel};
use crate::domain::QueueName;

/// A letter, and how long it is to wait in a delay queue if it goes to one.
#[derive(Debug)]
pub(super) struct Addressed {
    pub(super) letter: Letter,
    pub(super) later: Option<Later>,
}

impl Shared {
    /// See [`Carrier::send`](crate::broker::carrier::Carrier::send).
    pub(super) async fn send(
        &self,
        queue: &QueueName,
        parcels: Vec<Parcel>,
    ) -> Result<Vec<Each>, CarrierError> {
        let (mut letters, mut answers) = (Vec::new(), Vec::with_capacity(parcels.len()));
        for parcel in parcels {
            let letter = Later::of(parcel.delay).and_then(|later| {
                let own = || ShortString::from(queue.as_str());
                let key = later.map_or_else(own, |later| later.step.queue(queue));
                let due_ms = later.map(|later| later.due_ms);
                Ok(Addressed { letter: Letter::of(parcel, key, due_ms, self.sizes())?, later })
            });
            answers.push(letter.map(|letter| letters.push(letter)));
        }
        let mut sent = self.deliver(queue, &letters).await?.into_iter();
        for answer in &mut answers {
            if answer.is_ok() {
                *answer =
                    sent.next().unwrap_or_else(|| Err(Failed::NotTaken("not sent".to_owned())));
            }
        }
        Ok(answers)
    }

    /// Delivers letters to one queue, or to delay queues of it: what failed for a reason that may
    /// pass is tried again.
    pub(super) async fn deliver(
        &self,
        queue: &QueueName,
        letters: &[Addressed],
    ) -> Result<Vec<Each>, CarrierError> {
        let mut round = Round::new(letters.len());
        let mut away = Pauses::new(&self.limits, self.limits.patience);
        let mut full = Pauses::new(&self.limits, self.limits.full_wait);
        while !round.left.is_empty() {
            let posted = self.post(queue, letters, &round.left).await;
            let kept = round.kept;
            let (trouble, turned_down) = round.sort(letters, posted);
            if round.kept > kept {
                away = Pauses::new(&self.limits, self.limits.patience);
                full = Pauses::new(&self.limits, self.limits.full_wait);
            }
            if let Some(trouble) = trouble
                && !away.pause().await
            {
                if round.kept == 0 {
                    return Err(trouble.about(queue));
                }
                round.end(|| Failed::NotTaken(trouble.to_string()));
            } else if turned_down && !full.pause().await {
                let limited = self.known.get(queue).is_some_and(|known| known.capacity.is_some());
                if round.kept == 0 && limited {
                    return Err(CarrierError::Full(queue.clone()));
                }
                round.end(|| match limited {
                    true => Failed::Full,
                    false => Failed::NotTaken("the queue turned it down".to_owned()),
                });
            }
            if round.returned_delayed {
                round.returned_delayed = false;
                self.known.forget_delays(queue);
            }
        }
        // Parcels of one send go to one queue: it is missing for all or came to be missing.
        if round.missing > 0 && round.kept == 0 {
            return Err(CarrierError::NoQueue(queue.clone()));
        }
        for (addressed, answer) in letters.iter().zip(&round.answers) {
            if let (Some(later), Some(Ok(()))) = (addressed.later, answer) {
                self.agenda.visit(Place::delay(queue, later.step), later.until);
            }
        }
        Ok(round.answers.into_iter().map(|answer| answer.unwrap_or(Err(Failed::Over))).collect())
    }

    /// One attempt for those that are left.
    ///
    /// A full quorum queue turns publishers down until a fifth of it is empty, and until it has told
    /// them so it takes what is on its way. So those who know of a capacity look for themselves, and
    /// the server's own limit is for those who do not.
    async fn post(
        &self,
        queue: &QueueName,
        letters: &[Addressed],
        left: &[usize],
    ) -> Result<Vec<Posted>, Trouble> {
        let left: Vec<&Addressed> = left.iter().filter_map(|at| letters.get(*at)).collect();
        for later in left.iter().filter_map(|addressed| addressed.later) {
            if !self.known.has_delay(queue, later.step) {
                self.make_delay(queue, later.step).await?;
            }
        }
        let mut room = u64::MAX;
        if let Some(capacity) = self.known.get(queue).and_then(|known| known.capacity) {
            room = capacity.saturating_sub(self.waiting(queue).await?);
        }
        let mut fits = |addressed: &&Addressed| {
            let fits = addressed.later.is_some() || room > 0;
            room = room.saturating_sub(u64::from(addressed.later.is_none()));
            fits
        };
        let fits: Vec<bool> = left.iter().map(&mut fits).collect();
        let going = left.iter().zip(&fits).filter(|(_, fits)| **fits);
        let going: Vec<&Letter> = going.map(|(addressed, _)| &addressed.letter).collect();
        if going.is_empty() {
            return Ok(fits.iter().map(|_| Posted::TurnedDown).collect());
        }
        let mut posted = self.outward.post(&going).await?.into_iter();
        let mut answer = |fits: bool| if fits { posted.next() } else { None };
        let answer = |fits: &bool| answer(*fits).unwrap_or(Posted::TurnedDown);
        Ok(fits.iter().map(answer).collect())
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { parcel: self.limits.parcel_bytes, frame: self.outward.link.frame_bytes() }
    }
}

/// How far a delivery is.
struct Round {
    answers: Vec<Option<Each>>,
    left: Vec<usize>,
    /// Those that are sent alone, because one of those that went together was refused.
    alone: Vec<usize>,
    kept: usize,
    missing: usize,
    /// A delay queue was removed since it was last seen; those were found so before.
    returned_delayed: bool,
    returned: Vec<usize>,
}

impl Round {
    fn new(letters: usize) -> Self {
        Self {
            answers: vec![None; letters],
            left: (0..letters).collect(),
            alone: Vec::new(),
            kept: 0,
            missing: 0,
            returned_delayed: false,
            returned: Vec::new(),
        }
    }

    /// Puts what is known in its place and keeps what is to be tried again. Answers why it is, if it
    /// is because the server went away, and whether any was turned down.
    fn sort(
        &mut self,
        letters: &[Addressed],
        posted: Result<Vec<Posted>, Trouble>,
    ) -> (Option<Trouble>, bool) {
        let tried = std::mem::take(&mut self.left);
        let (mut away, mut turned_down) = (None, false);
        let posted = match posted {
            Ok(posted) => posted,
            Err(trouble) if trouble.passes() => {
                self.left = tried;
                return (Some(trouble), false);
            }
            Err(Trouble::Missing) => tried.iter().map(|_| Posted::Returned).collect(),
            Err(trouble) => {
                let refused = || Some(Err(Failed::Refused(trouble.to_string())));
                tried.into_iter().for_each(|at| self.answers[at] = refused());
                return (None, false);
            }
        };
        let several = tried.len() > 1;
        for (at, posted) in tried.into_iter().zip(posted) {
            match posted {
                Posted::Kept => {
                    self.kept += 1;
                    self.answers[at] = Some(Ok(()));
                }
                Posted::Returned => {
                    let delayed = letters.get(at).is_some_and(|letter| letter.later.is_some());
                    if delayed && !self.returned.contains(&at) {
                        self.returned_delayed = true;
                        self.returned.push(at);
                        self.left.push(at);
                    } else {
                        self.missing += 1;
                        let why = "there is no such queue".to_owned();
                        self.answers[at] = Some(Err(Failed::Refused(why)));
                    }
                }
                Posted::TurnedDown => {
                    turned_down = true;
                    self.left.push(at);
                }
                Posted::Unknown(trouble) => {
                    away = Some(trouble);
                    self.left.push(at);
                }
                Posted::Refused(_) if several => self.alone.push(at),
                Posted::Refused(trouble) => {
                    self.answers[at] = Some(Err(Failed::Refused(trouble.to_string())));
                }
            }
        }
        if self.left.is_empty() {
            self.left.extend(self.alone.pop());
        }
        (away, turned_down)
    }

    /// What is left is not tried any more.
    fn end(&mut self, why: impl Fn() -> Failed) {
        for at in self.left.drain(..).chain(self.alone.drain(..)) {
            self.answers[at] = Some(Err(why()));
        }
    }
}
