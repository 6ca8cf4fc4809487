//! The worker's own rules, on a queue in memory that records what it is asked and fails on request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rowmill::domain::{Delivery, QueueName, Verdict};
use rowmill::worker::handler::from_fn;
use rowmill::worker::{
    Handler, NoObserver, Observer, Rate, Sleep, Stop, Summary, WorkerError, WorkerLimits, run,
};
use tokio::sync::{Barrier, Notify, Semaphore};
use tokio_util::sync::CancellationToken;

#[path = "support/memory.rs"]
mod memory;

use memory::{Memory, UntilEnded};

const DONE: Verdict = Verdict::Done { output: None };

fn queue() -> QueueName {
    "rows".parse().unwrap()
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn limits(concurrency: usize) -> WorkerLimits {
    WorkerLimits { concurrency, ..WorkerLimits::default() }
}

/// Runs until so many messages have ended.
async fn run_all(
    source: &Arc<Memory>,
    handler: impl Handler,
    limits: WorkerLimits,
    messages: u64,
) -> Summary {
    let stop = Stop::default();
    let observer = UntilEnded::new(messages, &stop.finished);
    let work = run(source.clone(), queue(), Arc::new(handler), limits, stop, observer);
    tokio::time::timeout(millis(30_000), work).await.expect("the worker does not end").unwrap()
}

/// Runs in the background until it is stopped.
fn start<H: Handler>(
    source: &Arc<Memory>,
    handler: H,
    limits: WorkerLimits,
    stop: &Stop,
) -> impl Future<Output = Summary> + use<H> {
    let (source, stop) = (source.clone(), stop.clone());
    let task = tokio::spawn(async move {
        run(source, queue(), Arc::new(handler), limits, stop, Arc::new(NoObserver)).await
    });
    async move {
        let ended = tokio::time::timeout(millis(30_000), task).await;
        ended.expect("the worker does not end").unwrap().unwrap()
    }
}

#[tokio::test]
async fn every_message_is_done_once_and_never_more_at_once_than_allowed() {
    let mut source = Memory::new(500);
    source.surplus = 3;
    let source = Arc::new(source);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (running, most) = (running.clone(), most.clone());
        from_fn(move |_, _| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(millis(fastrand::u64(0..5))).await;
                running.fetch_sub(1, SeqCst);
                DONE
            }
        })
    };
    let summary = run_all(&source, handler, limits(7), 500).await;
    assert_eq!((summary.received, summary.started, summary.done), (500, 500, 500));
    assert_eq!((summary.stale, summary.again, summary.unsettled), (0, 0, 0));
    assert!(most.load(SeqCst) <= 7, "{most:?} ran at once");
    source.look(|state| {
        assert!(state.done.len() == 500 && state.done.values().all(|(times, _)| *times == 1));
        assert!(state.receives.iter().all(|asked| (1..=7).contains(asked)), "{:?}", state.receives);
    });
}

#[tokio::test]
async fn no_more_is_asked_for_than_there_are_free_hands() {
    let source = Arc::new(Memory::new(20));
    let hands = Arc::new(Semaphore::new(0));
    let handler = {
        let hands = hands.clone();
        from_fn(move |_, _| {
            let hands = hands.clone();
            async move {
                hands.acquire().await.unwrap().forget();
                DONE
            }
        })
    };
    let stop = Stop::default();
    let ended = start(&source, handler, limits(10), &stop);
    source.until(|state| state.leased() == 10).await;
    hands.add_permits(3);
    source.until(|state| state.done.len() == 3 && state.leased() == 10).await;
    source.look(|state| {
        assert_eq!(state.receives[0], 10);
        assert_eq!(state.receives[1..].iter().sum::<usize>(), 3, "{:?}", state.receives);
    });
    hands.add_permits(17);
    source.until(|state| state.done.len() == 20).await;
    stop.drain.cancel();
    assert_eq!(ended.await.done, 20);
}

#[tokio::test]
async fn what_ends_together_is_settled_and_received_together() {
    let source = Arc::new(Memory::new(400));
    let barrier = Arc::new(Barrier::new(200));
    let handler = from_fn(move |_, _| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            tokio::time::sleep(millis(fastrand::u64(0..10))).await;
            DONE
        }
    });
    let limits = WorkerLimits {
        batch_size: 100,
        receive_gather: millis(20),
        settle_gather: millis(20),
        ..limits(200)
    };
    run_all(&source, handler, limits, 400).await;
    source.look(|state| {
        assert!(state.settles.len() <= 6, "{:?}", state.settles);
        assert!(state.receives.len() <= 9, "{:?}", state.receives);
    });
}

#[tokio::test]
async fn leases_of_slow_messages_are_extended_together() {
    let mut source = Memory::new(6);
    (source.deadline, source.lease_size) = (millis(400), 2);
    let source = Arc::new(source);
    let handler = {
        let source = source.clone();
        from_fn(move |_, _| {
            let source = source.clone();
            async move {
                // Longer than two deadlines.
                source.until(|state| state.extends.len() >= 4).await;
                DONE
            }
        })
    };
    let summary = run_all(&source, handler, limits(6), 6).await;
    assert_eq!((summary.done, summary.stale, summary.received), (6, 0, 6));
    source.look(|state| assert_eq!(state.extends[..4], [3, 3, 3, 3]));
}

#[tokio::test]
async fn a_lease_that_ran_out_voids_results_and_nothing_else() {
    let mut source = Memory::new(4);
    source.deadline = millis(200);
    let source = Arc::new(source);
    let handler = {
        let source = source.clone();
        from_fn(move |delivery: Delivery, _| {
            let source = source.clone();
            async move {
                if delivery.attempt == 1 && source.number(&delivery) == 0 {
                    source.until(|state| state.leased() == 4).await;
                    source.look(|state| state.sweep_all());
                }
                DONE
            }
        })
    };
    let limits = WorkerLimits { settle_gather: millis(50), ..limits(4) };
    let summary = run_all(&source, handler, limits, 4).await;
    assert_eq!((summary.stale, summary.done, summary.received), (4, 4, 8));
}

#[tokio::test]
async fn what_has_not_started_when_its_lease_is_lost_is_not_started() {
    let mut source = Memory::new(3);
    source.deadline = millis(100);
    let source = Arc::new(source);
    let starts = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (source, starts) = (source.clone(), starts.clone());
        from_fn(move |_, _| {
            let (source, starts) = (source.clone(), starts.clone());
            async move {
                if starts.fetch_add(1, SeqCst) == 0 {
                    source.look(|state| state.sweep_all());
                }
                DONE
            }
        })
    };
    // The first starts at once, and loses the lease for the two that wait for their turn.
    let limits = WorkerLimits { rate: Some(Rate::new(3.0).unwrap()), ..limits(3) };
    let summary = run_all(&source, handler, limits, 3).await;
    assert_eq!((summary.done, summary.skipped, summary.stale), (3, 2, 1));
}

#[tokio::test]
async fn the_rate_of_starts_is_kept() {
    let source = Arc::new(Memory::new(60));
    let times = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handler = {
        let times = times.clone();
        from_fn(move |_, _| {
            times.lock().unwrap().push(Instant::now());
            async { DONE }
        })
    };
    let limits = WorkerLimits { rate: Some(Rate::new(50.0).unwrap()), ..limits(60) };
    run_all(&source, handler, limits, 60).await;
    let times = times.lock().unwrap();
    let took = times[59] - times[0];
    // Three starts of slack: see `rate.rs`.
    assert!(took >= millis(56 * 20), "60 starts at 50/s took {took:?}");
    assert!(took < millis(2_400), "60 starts at 50/s took {took:?}");
}

#[tokio::test]
async fn a_message_that_takes_too_long_is_tried_again() {
    for heeds_cancel in [true, false] {
        let mut source = Memory::new(2);
        source.attempts = 2;
        let source = Arc::new(source);
        let handler = from_fn(move |_, cancel: CancellationToken| async move {
            if heeds_cancel {
                cancel.cancelled().await;
                return Verdict::Release;
            }
            pending().await
        });
        let limits =
            WorkerLimits { timeout: Some(millis(50)), cancel_grace: millis(50), ..limits(2) };
        let summary = run_all(&source, handler, limits, 2).await;
        assert_eq!((summary.dead, summary.again, summary.started), (2, 2, 4));
        source.look(|state| {
            assert_eq!(state.retried, ["timed out after 0.05 s"; 2]);
            assert!(state.dead.values().all(|reason| reason == "timed out after 0.05 s"));
        });
    }
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_message_only() {
    let source = Arc::new(Memory::new(3));
    let handler = {
        let source = source.clone();
        from_fn(move |delivery: Delivery, _| {
            let number = source.number(&delivery);
            assert_ne!(number, 0, "before the future");
            async move {
                tokio::task::yield_now().await;
                assert_ne!(number, 1, "inside the future");
                DONE
            }
        })
    };
    let summary = run_all(&source, handler, limits(1), 3).await;
    assert_eq!((summary.done, summary.dead), (1, 2));
    source.look(|state| {
        assert!(state.dead[&0].starts_with("the handler panicked: "), "{:?}", state.dead);
        assert!(state.dead[&0].contains("before the future"));
        assert!(state.dead[&1].contains("inside the future"));
    });
}

#[tokio::test]
async fn draining_finishes_what_runs_and_hands_back_what_waits() {
    let source = Arc::new(Memory::new(5));
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (started, go_on) = (started.clone(), go_on.clone());
        from_fn(move |_, _| {
            let (started, go_on) = (started.clone(), go_on.clone());
            async move {
                started.notify_one();
                go_on.notified().await;
                DONE
            }
        })
    };
    // Two are received; the second is to wait a whole second for its start.
    let limits = WorkerLimits { rate: Some(Rate::new(1.01).unwrap()), ..limits(5) };
    let stop = Stop::default();
    let ended = start(&source, handler, limits, &stop);
    started.notified().await;
    source.until(|state| state.leased() == 2).await;
    stop.drain.cancel();
    source.until(|state| state.leased() == 1 && state.waiting() == 4).await;
    go_on.notify_one();
    let summary = ended.await;
    assert_eq!((summary.received, summary.started), (2, 1));
    assert_eq!((summary.done, summary.again, summary.released), (1, 1, 1));
}

#[tokio::test]
async fn what_is_being_received_when_draining_begins_is_handed_back() {
    let mut source = Memory::new(3);
    source.answer_takes = millis(100);
    let source = Arc::new(source);
    let limits = WorkerLimits { receive_grace: millis(10_000), ..limits(3) };
    let stop = Stop::default();
    let ended = start(&source, Sleep::new(millis(1)), limits, &stop);
    source.until(|state| state.leased() == 3).await;
    stop.drain.cancel();
    let summary = ended.await;
    assert_eq!((summary.received, summary.started, summary.released), (3, 0, 3));
    source.look(|state| assert_eq!((state.leased(), state.waiting()), (0, 3)));
}

#[tokio::test]
async fn a_second_stop_and_an_overlong_drain_cancel_what_runs() {
    for (drain_grace, second) in [(millis(60_000), true), (millis(50), false)] {
        let source = Arc::new(Memory::new(20));
        let cancelled = Arc::new(AtomicUsize::new(0));
        let handler = {
            let cancelled = cancelled.clone();
            from_fn(move |_, cancel: CancellationToken| {
                let cancelled = cancelled.clone();
                async move {
                    cancel.cancelled().await;
                    cancelled.fetch_add(1, SeqCst);
                    pending().await
                }
            })
        };
        let limits = WorkerLimits { drain_grace, cancel_grace: millis(50), ..limits(10) };
        let stop = Stop::default();
        let ended = start(&source, handler, limits, &stop);
        source.until(|state| state.leased() == 10).await;
        stop.drain.cancel();
        if second {
            stop.now.cancel();
        }
        let summary = ended.await;
        assert_eq!((summary.released, summary.again, summary.done), (10, 10, 0));
        assert_eq!(cancelled.load(SeqCst), 10);
        source.look(|state| assert_eq!((state.leased(), state.waiting()), (0, 20)));
    }
}

#[tokio::test]
async fn work_that_ended_in_spite_of_the_cancellation_counts() {
    let source = Arc::new(Memory::new(1));
    let handler = from_fn(|_, cancel: CancellationToken| async move {
        cancel.cancelled().await;
        DONE
    });
    let stop = Stop::default();
    let ended = start(&source, handler, limits(1), &stop);
    source.until(|state| state.leased() == 1).await;
    stop.now.cancel();
    assert_eq!(ended.await.done, 1);
}

#[tokio::test]
async fn a_source_that_is_away_for_a_while_costs_time_and_no_message() {
    let source = Arc::new(Memory::new(30));
    let failing = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (source, failing) = (source.clone(), failing.clone());
        from_fn(move |_, _| {
            let (source, failing) = (source.clone(), failing.clone());
            async move {
                if failing.fetch_add(1, SeqCst) == 5 {
                    source.look(|state| state.failing = true);
                    let source = source.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(millis(400)).await;
                        source.look(|state| state.failing = false);
                    });
                }
                tokio::time::sleep(millis(20)).await;
                DONE
            }
        })
    };
    let limits = WorkerLimits { settle_queue: 1, ..limits(4) };
    let summary = run_all(&source, handler, limits, 30).await;
    assert_eq!((summary.done, summary.stale, summary.received), (30, 0, 30));
    assert_eq!(failing.load(SeqCst), 30);
}

#[tokio::test]
async fn a_source_that_stays_away_does_not_keep_a_stopped_worker() {
    let source = Arc::new(Memory::new(8));
    let handler = {
        let source = source.clone();
        from_fn(move |_, _| {
            source.look(|state| state.failing = true);
            async { DONE }
        })
    };
    let limits = WorkerLimits {
        settle_queue: 1,
        settle_batch: 1,
        drain_grace: millis(50),
        cancel_grace: millis(50),
        settle_grace: millis(50),
        ..limits(8)
    };
    let stop = Stop::default();
    let ended = start(&source, handler, limits, &stop);
    source.until(|state| state.failing).await;
    stop.drain.cancel();
    let summary = ended.await;
    assert_eq!((summary.done, summary.unsettled), (0, 8));
}

#[tokio::test]
async fn a_finished_queue_ends_an_idle_worker_at_once() {
    let source = Arc::new(Memory::new(0));
    let stop = Stop::default();
    let limits = WorkerLimits { receive_wait: millis(60_000), ..limits(4) };
    let ended = start(&source, Sleep::new(millis(1)), limits, &stop);
    source.until(|state| !state.receives.is_empty()).await;
    stop.finished.cancel();
    assert_eq!(ended.await, Summary::default());
}

#[tokio::test]
async fn a_worker_that_is_dropped_hands_back_what_it_had() {
    let source = Arc::new(Memory::new(3));
    let (handler, observer) = (Arc::new(Sleep::new(millis(60_000))), Arc::new(NoObserver));
    let work = run(source.clone(), queue(), handler, limits(3), Stop::default(), observer);
    tokio::select! {
        _ = work => panic!("it ended"),
        () = source.until(|state| state.leased() == 3) => {}
    }
    source.until(|state| state.leased() == 0 && state.waiting() == 3).await;
}

#[tokio::test]
async fn a_deleted_queue_ends_the_worker_after_what_runs() {
    let source = Arc::new(Memory::new(2));
    let handler = {
        let source = source.clone();
        from_fn(move |_, _| {
            let source = source.clone();
            async move {
                source.look(|state| state.deleted = true);
                tokio::time::sleep(millis(50)).await;
                DONE
            }
        })
    };
    let (stop, observer) = (Stop::default(), Arc::new(NoObserver));
    let work = run(source.clone(), queue(), Arc::new(handler), limits(5), stop, observer);
    let error = work.await.unwrap_err();
    assert_eq!(error.to_string(), "there is no queue `rows`");
    source.look(|state| assert_eq!(state.done.len(), 2));
}

#[tokio::test]
async fn an_observer_that_panics_ends_the_worker() {
    struct Bad;
    impl Observer for Bad {
        fn settled(&self, _: &rowmill::domain::Settled) {
            panic!("no eyes");
        }
    }
    let (source, handler) = (Arc::new(Memory::new(9)), Arc::new(Sleep::new(millis(1))));
    let ended = run(source, queue(), handler, limits(1), Stop::default(), Arc::new(Bad)).await;
    assert!(matches!(ended, Err(WorkerError::Broken(_))));
}

#[tokio::test]
async fn limits_that_cannot_work_are_refused() {
    let (source, handler) = (Arc::new(Memory::new(0)), Arc::new(Sleep::new(millis(1))));
    let limits = limits(0);
    let ended = run(source, queue(), handler, limits, Stop::default(), Arc::new(NoObserver)).await;
    assert_eq!(ended.unwrap_err().to_string(), "the concurrency is 0: it must be 1 to 1000000");
}
