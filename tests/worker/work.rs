//! Messages worked off: in how many hands, together, in time, and what a handler may do to it.

use super::*;

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
