//! A source that is away.

use super::*;

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
