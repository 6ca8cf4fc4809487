//! How a worker ends: what it finishes, and what it hands back.

use super::*;

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
