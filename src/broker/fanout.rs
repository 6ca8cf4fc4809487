//! Which queues of a topic take which messages of a batch: decided once, above every carrier.

use std::borrow::Cow;

use crate::store::control::Routes;
use crate::store::log::{NewSegment, Taken};

/// A batch's segments, and how many of its messages no queue takes.
#[derive(Debug, Clone)]
pub struct Routed {
    /// One for each queue that takes any.
    pub segments: Vec<NewSegment>,
    /// Messages that none takes.
    pub unrouted: u32,
}

/// Routes a batch of `n` messages. `value_of` finds an attribute of a message by its offset in the
/// batch and its name; it is asked only where a queue filters.
pub fn route<'a>(
    routes: &Routes,
    n: usize,
    value_of: impl Fn(usize, &str) -> Option<Cow<'a, str>>,
) -> Routed {
    let mut segments = vec![];
    let mut routed = vec![false; n];
    for queue in &routes.queues {
        let taken = if queue.filters.is_empty() {
            routed.fill(true);
            (n > 0).then_some(Taken::All)
        } else {
            let offsets: Vec<usize> =
                (0..n).filter(|at| queue.filters.take(|name| value_of(*at, name))).collect();
            offsets.iter().for_each(|at| routed[*at] = true);
            match offsets.len() {
                0 => None,
                all if all == n => Some(Taken::All),
                // A batch has at most a block of messages, so every offset fits.
                _ => Some(Taken::Offsets(
                    offsets.into_iter().filter_map(|at| i16::try_from(at).ok()).collect(),
                )),
            }
        };
        segments.extend(taken.map(|taken| NewSegment {
            queue: queue.queue,
            taken,
            delay: queue.delay,
            retention: queue.retention,
        }));
    }
    let unrouted = routed.iter().filter(|routed| !**routed).count();
    Routed { segments, unrouted: u32::try_from(unrouted).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::domain::Filters;
    use crate::store::control::Route;
    use crate::store::log::{QueueId, TopicId};

    fn queue(number: i32, wanted: Option<&str>) -> Route {
        let filters = wanted.map(|value| ("parity".to_owned(), vec![value.to_owned()]));
        Route {
            queue: QueueId(number),
            name: format!("q{number}").parse().unwrap(),
            filters: Filters(BTreeMap::from_iter(filters)),
            delay: Duration::ZERO,
            retention: None,
        }
    }

    fn route_five(queues: Vec<Route>) -> (Vec<(i32, Taken)>, u32) {
        let routes = Routes { topic: TopicId(1), version: 0, deleted: false, queues };
        let routed = route(&routes, 5, |at, name| {
            assert_eq!(name, "parity");
            Some(Cow::Borrowed(if at % 2 == 0 { "even" } else { "odd" }))
        });
        let segments =
            routed.segments.into_iter().map(|segment| (segment.queue.0, segment.taken)).collect();
        (segments, routed.unrouted)
    }

    #[test]
    fn each_queue_takes_what_its_filters_accept() {
        let (segments, unrouted) =
            route_five(vec![queue(1, None), queue(2, Some("odd")), queue(3, Some("neither"))]);
        assert_eq!(segments, [(1, Taken::All), (2, Taken::Offsets(vec![1, 3]))]);
        assert_eq!(unrouted, 0);
    }

    #[test]
    fn what_no_queue_takes_is_counted() {
        assert_eq!(route_five(vec![]), (vec![], 5));
        let (segments, unrouted) = route_five(vec![queue(2, Some("even"))]);
        assert_eq!(segments, [(2, Taken::Offsets(vec![0, 2, 4]))]);
        assert_eq!(unrouted, 2);
    }
}
