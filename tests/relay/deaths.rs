//! Retries, deaths and new lives.

use std::time::Duration;

use rowmill::broker::keeper::Keeper;
use rowmill::broker::{Broker, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::Verdict;
use rowmill::store::control::QueueTerms;
use rowmill::store::log::Counts;

use crate::scene::{Scene, done, name, retry, terms};
use crate::support::TestDatabase;

on_both!(
    the_last_attempt_is_death_and_a_redrive_a_new_life,
    a_rejected_one_is_dead_at_once_and_a_released_one_is_not,
    a_consumer_that_dies_without_a_word_costs_an_attempt,
    a_death_that_got_lost_on_its_way_is_found,
    what_the_engine_moved_by_itself_is_recorded,
    what_waited_too_long_has_expired,
    an_engine_keeps_it_a_while_longer_if_it_can,
);

async fn the_last_attempt_is_death_and_a_redrive_a_new_life(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish_all(&[2, 3]).await;
    let leases = scene.receive("rows").await;
    assert_eq!(scene.settle(&leases, retry("once")).await.again, 2);
    let leases = scene.receive("rows").await;
    assert!(leases[0].deliveries.iter().all(|delivery| delivery.attempt == 2));
    assert_eq!(scene.settle(&leases, retry("twice")).await.dead, 2);
    let dead = |row| (row, "Dead".to_owned(), 2, "twice".to_owned());
    assert_eq!(scene.outcomes("rows").await, [dead(2), dead(3)]);
    assert_eq!(scene.store.log.end_uploads().await.unwrap(), [scene.upload.id]);
    let stats = scene.relay.stats(&name("rows")).await.unwrap();
    assert_eq!((stats.depth.total(), stats.dead), (0, 2));
    let seen = scene.relay.peek(&name("dead"), 10).await.unwrap();
    assert_eq!(seen[0].reason.as_deref(), Some("twice"));
    assert_eq!(seen[0].origin.as_ref().unwrap().row.0, 2);

    assert_eq!(scene.relay.redrive(&name("dead"), &name("rows")).await.unwrap(), 2);
    assert_eq!(scene.outcomes("rows").await, []);
    let again = scene.deliveries("rows").await;
    assert_eq!(again.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(), [1, 1]);
    assert!(again.iter().all(|delivery| delivery.attributes.is_none()), "no reason any more");
    let receipt = again[0].receipt;
    let ends = vec![
        crate::scene::one(receipt, 0, done()),
        crate::scene::one(receipt, 1, Verdict::Reject { reason: "never".into() }),
    ];
    let settled = crate::scene::sum(scene.relay.settle(ends).await.unwrap());
    assert_eq!((settled.done, settled.dead), (1, 1));
    assert_eq!(scene.ended().await, Counts { done: 1, dead: 1, ..Counts::default() });
    assert_eq!(scene.engine.ids("dead").len(), 1);
}

async fn a_rejected_one_is_dead_at_once_and_a_released_one_is_not(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish_all(&[2]).await;
    for attempt in 1..=2 {
        let leases = scene.receive("rows").await;
        assert_eq!(leases[0].deliveries[0].attempt, attempt);
        assert_eq!(scene.settle(&leases, Verdict::Release).await.again, 1);
    }
    assert_eq!(scene.ended().await, Counts::default());
    // Delivered once more than it may be: nobody gets it any more.
    assert!(scene.receive("rows").await.is_empty());
    let why = "its ack deadline passed".to_owned();
    assert_eq!(scene.outcomes("rows").await, [(2, "Dead".into(), 3, why)]);
}

async fn a_consumer_that_dies_without_a_word_costs_an_attempt(database: TestDatabase) {
    let terms = QueueTerms { deadline: Duration::from_millis(30), ..terms() };
    let scene = Scene::with(database, terms).await;
    scene.publish_all(&[2]).await;
    let first = scene.receive("rows").await;
    let second = scene.relay.receive(&name("rows"), 1, Duration::from_secs(5)).await.unwrap();
    assert_eq!(second[0].deliveries[0].attempt, 2);
    assert_eq!(scene.settle(&first, retry("late")).await.stale, [0]);
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(scene.receive("rows").await.is_empty());
    assert_eq!(scene.ended().await, Counts { dead: 1, ..Counts::default() });
    assert_eq!(scene.engine.ids("dead").len(), 1);
    assert_eq!(scene.settle(&second, done()).await.stale, [0], "it has ended");
    assert_eq!(scene.ended().await, Counts { dead: 1, ..Counts::default() });
}

/// Recorded, and then the process dies before the carrier is told: the parcel is still in its queue.
async fn a_death_that_got_lost_on_its_way_is_found(database: TestDatabase) {
    let terms = QueueTerms { deadline: Duration::from_millis(30), ..terms() };
    let scene = Scene::with(database, terms).await;
    scene.publish_all(&[2]).await;
    let other = scene.another().await;
    let leases = other.receive(&name("rows"), 1, Duration::from_secs(5)).await.unwrap();
    // The engine gives it back meanwhile, so that the move goes to a delivery that is over.
    tokio::time::sleep(Duration::from_millis(40)).await;
    let reject = Verdict::Reject { reason: "never".into() };
    let asked = vec![(leases[0].receipt, crate::scene::all_of(&leases[0], &reject))];
    assert_eq!(other.settle(asked).await.unwrap()[0].dead, 1);
    assert_eq!((scene.engine.ids("rows").len(), scene.engine.ids("dead").len()), (1, 0));
    assert!(scene.receive("rows").await.is_empty(), "nobody gets it any more");
    assert_eq!((scene.engine.ids("rows").len(), scene.engine.ids("dead").len()), (0, 1));
    assert_eq!(scene.ended().await, Counts { dead: 1, ..Counts::default() });
}

async fn what_the_engine_moved_by_itself_is_recorded(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish_all(&[2]).await;
    // What an engine does: the parcel is in the dead queue as it was, and nobody has said why.
    let leases = scene.receive("rows").await;
    drop(leases);
    scene.engine.give_up("rows", "dead");
    assert_eq!(scene.ended().await, Counts::default());
    let sql = SqlBroker::new(scene.store.clone(), SqlBrokerLimits::default()).await.unwrap();
    Keeper::new(sql).and(Some(scene.relay.chore())).all().await.unwrap();
    assert_eq!(scene.ended().await, Counts { dead: 1, ..Counts::default() });
    let why = "the broker gave it up".to_owned();
    assert_eq!(scene.outcomes("rows").await, [(2, "Dead".into(), 2, why)]);
}

async fn what_waited_too_long_has_expired(database: TestDatabase) {
    let terms = QueueTerms { retention: Some(Duration::from_secs(600)), ..terms() };
    let scene = Scene::with(database, terms).await;
    scene.publish_all(&[2, 3]).await;
    let leases = scene.relay.receive(&name("rows"), 1, Duration::ZERO).await.unwrap();
    assert!(leases[0].deliveries[0].expires_ms.is_some());
    scene.store.clock.advance(Duration::from_secs(601));
    assert!(scene.receive("rows").await.is_empty());
    assert_eq!(scene.ended().await, Counts { expired: 1, ..Counts::default() });
    assert_eq!(scene.settle(&leases, done()).await.done, 1);
}

/// SQS keeps nothing for more than 14 days, which is what the queue `rows` asks for.
async fn an_engine_keeps_it_a_while_longer_if_it_can(database: TestDatabase) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let terms = QueueTerms { retention: Some(14 * DAY), ..terms() };
    let scene = Scene::with(database, terms).await;
    scene.publish_all(&[2]).await;
    assert_eq!(scene.engine.retention("rows"), Some(15 * DAY));
    for (most, kept) in [(14, 14), (20, 15), (7, 15)] {
        scene.engine.state().retention_most = Some(most * DAY);
        scene.another().await.queue_made(&name("rows")).await.unwrap();
        assert_eq!(scene.engine.retention("rows"), Some(kept * DAY), "of {most} at most");
    }
}
