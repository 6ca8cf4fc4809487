//! Rows of an upload: covered when confirmed, and ended once.

use std::time::Duration;

use rowmill::broker::keeper::Keeper;
use rowmill::broker::{Broker, BrokerError, Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::RowNumber;
use rowmill::store::control::{QueueTerms, UploadState};
use rowmill::store::log::{Counts, Fence};

use crate::scene::{PATIENCE, Scene, done, name, retry, terms};
use crate::support::TestDatabase;

on_both!(
    rows_are_covered_and_end,
    what_was_sent_twice_ends_once,
    what_is_delivered_twice_ends_once,
    what_was_not_taken_is_sent_again,
    a_full_queue_is_waited_for_row_by_row,
    a_refused_row_is_dead_at_once,
    a_row_that_no_queue_takes_is_counted,
    a_queue_that_comes_meanwhile_gets_its_rows,
    a_cancelled_upload_is_cancelled_when_taken,
    a_deleted_queue_leaves_the_sums,
    a_deleted_upload_leaves_nothing,
    a_purge_is_counted,
);

async fn rows_are_covered_and_end(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let published = scene.publish(&[2, 3, 5]).await.unwrap();
    assert_eq!((published.routed, published.unrouted), (3, 0));
    scene.publish(&[6, 900, 1_800]).await.unwrap();
    let covered = scene.store.log.covered(scene.upload.id).await.unwrap();
    let ranges: Vec<_> = covered.iter().map(|one| (one.first_row.0, one.last_row.0)).collect();
    assert_eq!(ranges, [(2, 5), (6, 1_800)]);
    let standing = scene.standing().await;
    assert_eq!((standing.messages, standing.copies, standing.waiting()), (6, 6, 6));

    let leases = scene.receive("rows").await;
    let deliveries = &leases[0].deliveries;
    assert_eq!(deliveries.len(), 6);
    let origin = deliveries[4].origin.as_ref().unwrap();
    assert_eq!((origin.upload_id, origin.row), (scene.upload.public_id, RowNumber(900)));
    assert_eq!(&*origin.filename, "päckchen.csv");
    assert_eq!((&*deliveries[4].data, deliveries[4].attempt), (r#"{"n":900}"#, 1));
    assert_eq!(deliveries[4].attributes, None);
    let ours = scene.relay.holder(deliveries[4].id).await.unwrap();
    assert_eq!(ours, Some((leases[0].receipt, 4)));

    assert_eq!(scene.settle(&leases, done()).await.done, 6);
    assert_eq!(scene.engine.ids("rows"), Vec::<String>::new());
    assert_eq!(scene.ended().await, Counts { done: 6, ..Counts::default() });
    let rows: Vec<u32> =
        scene.outcomes("rows").await.into_iter().map(|outcome| outcome.0).collect();
    assert_eq!(rows, [2, 3, 5, 6, 900, 1_800]);
    let outcome = &scene.outcomes("rows").await[3];
    assert_eq!(outcome, &(6, "Done".into(), 1, "7".into()));
    scene.relay.release(scene.upload.fence(), "{}").await.unwrap();
    assert_eq!(scene.store.log.end_uploads().await.unwrap(), [scene.upload.id]);
}

/// A server that has lost the upload has sent what it could not commit.
async fn what_was_sent_twice_ends_once(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let before = scene.upload.fence();
    let mut to = scene.publishing();
    to.fence = Fence { epoch: before.epoch - 1, ..before };
    let lost = scene.publish_as(&to, &[2, 3, 4]).await;
    assert!(matches!(lost, Err(BrokerError::LeaseLost)), "{lost:?}");
    assert_eq!(scene.standing().await.copies, 0, "nothing is covered");
    scene.publish_all(&[2, 3, 4]).await;
    assert_eq!(scene.engine.ids("rows").len(), 6);

    let leases = scene.receive("rows").await;
    assert_eq!(leases.iter().map(|lease| lease.deliveries.len()).sum::<usize>(), 3);
    assert_eq!(scene.settle(&leases, done()).await.done, 3);
    assert!(scene.receive("rows").await.is_empty());
    assert_eq!(scene.engine.ids("rows"), Vec::<String>::new());
    assert_eq!(scene.ended().await, Counts { done: 3, ..Counts::default() });
    assert_eq!(scene.outcomes("rows").await.len(), 3);
}

async fn what_is_delivered_twice_ends_once(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish_all(&[2, 3]).await;
    let leases = scene.receive("rows").await;
    // The engine does not hear the ack, and delivers again when the deadline is over.
    scene.engine.state().deaf = 1;
    assert_eq!(scene.settle(&leases, done()).await.done, 2);
    scene.engine.lapse("rows");
    assert!(scene.receive("rows").await.is_empty());
    assert_eq!(scene.engine.ids("rows"), Vec::<String>::new(), "acked at last");

    // Two processes with the same message in hands: the first ends it.
    let other = scene.another().await;
    let plain = vec![rowmill::broker::MessageBody {
        data: bytes::Bytes::from_static(b"{}"),
        attributes: Default::default(),
    }];
    scene.relay.publish_messages(&"rows".parse().unwrap(), plain, None).await.unwrap();
    scene.engine.double("rows");
    let here = scene.relay.receive(&name("rows"), 1, Duration::ZERO).await.unwrap();
    let there = other.receive(&name("rows"), 1, Duration::ZERO).await.unwrap();
    assert_eq!(here[0].deliveries[0].id, there[0].deliveries[0].id);
    let asked =
        |leases: &[rowmill::domain::Lease]| vec![crate::scene::one(leases[0].receipt, 0, done())];
    assert_eq!(other.settle(asked(&there)).await.unwrap()[0].done, 1);
    let late = scene.relay.settle(asked(&here)).await.unwrap();
    assert_eq!((late[0].done, late[0].stale.as_slice()), (0, &[0][..]));
    assert_eq!(scene.outcomes("rows").await.len(), 3);
}

async fn what_was_not_taken_is_sent_again(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.engine.state().not_taken = 4;
    scene.publish(&[2, 3, 4]).await.unwrap();
    assert_eq!(scene.engine.ids("rows").len(), 3);
    scene.engine.state().not_taken = 1_000;
    let outage = scene.publish(&[5, 6]).await;
    assert!(matches!(outage, Err(BrokerError::Outage(_))), "{outage:?}");
    assert_eq!(scene.standing().await.copies, 3, "what is not confirmed is not covered");
    scene.engine.state().not_taken = 0;
    scene.publish(&[5, 6]).await.unwrap();
    assert_eq!(scene.standing().await.copies, 5);
}

/// A batch for which there is never room at once goes in as others come out, and no row goes twice.
async fn a_full_queue_is_waited_for_row_by_row(database: TestDatabase) {
    let mut scene = Scene::new(database).await;
    // One that pauses between its tries.
    scene.relay = scene.another().await;
    scene.engine.state().room = Some(3);
    let rows: Vec<u32> = (2..22).collect();
    let works = async {
        let mut seen = vec![];
        while seen.len() < rows.len() {
            let leases = scene.receive("rows").await;
            let deliveries = leases.iter().flat_map(|lease| &lease.deliveries);
            seen.extend(deliveries.map(|one| one.origin.as_ref().unwrap().row.0));
            scene.settle(&leases, done()).await;
        }
        seen
    };
    let publishes = async { scene.publish(&rows).await.unwrap().routed };
    let both = async { tokio::join!(publishes, works) };
    let (routed, mut seen) = tokio::time::timeout(PATIENCE, both).await.expect("it does not end");
    seen.sort_unstable();
    assert_eq!((routed, seen), (20, rows.clone()), "each once");
    assert_eq!(scene.ended().await, Counts { done: 20, ..Counts::default() });
}

async fn a_refused_row_is_dead_at_once(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.engine.state().refused = Some(r#""n":3"#.into());
    scene.publish_all(&[2, 3, 4]).await;
    let said = "the broker refused it: too large";
    assert_eq!(scene.outcomes("rows").await, [(3, "Dead".into(), 0, said.into())]);
    let leases = scene.receive("rows").await;
    scene.settle(&leases, done()).await;
    assert_eq!(scene.store.log.end_uploads().await.unwrap(), [scene.upload.id]);
}

async fn a_row_that_no_queue_takes_is_counted(database: TestDatabase) {
    let filters = [("row".to_owned(), vec!["3".to_owned()])].into();
    let terms = QueueTerms { filters: rowmill::domain::Filters(filters), ..terms() };
    let scene = Scene::with(database, terms).await;
    let published = scene.publish(&[2, 3, 4]).await.unwrap();
    assert_eq!((published.routed, published.unrouted), (1, 2));
    let standing = scene.standing().await;
    assert_eq!((standing.messages, standing.unrouted, standing.copies), (3, 2, 1));
    assert_eq!(scene.engine.ids("rows").len(), 1);
}

/// The routes that a process remembers are older than the change: the ledger does not take the batch,
/// and what is missing is sent.
async fn a_queue_that_comes_meanwhile_gets_its_rows(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish(&[2]).await.unwrap();
    let more = QueueTerms { dead_queue: None, max_deliveries: None, ..terms() };
    scene.store.control.create_queue(&name("more"), &more).await.unwrap();
    scene.publish(&[3, 4]).await.unwrap();
    assert_eq!((scene.engine.ids("rows").len(), scene.engine.ids("more").len()), (3, 2));
    assert_eq!(scene.standing().await.copies, 5);
}

async fn a_cancelled_upload_is_cancelled_when_taken(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish_all(&[2, 3, 4]).await;
    let leases = scene.relay.receive(&name("rows"), 1, Duration::ZERO).await.unwrap();
    assert!(scene.store.log.cancel(scene.upload.id).await.unwrap());
    assert!(scene.receive("rows").await.is_empty());
    assert_eq!(scene.ended().await, Counts { cancelled: 2, ..Counts::default() });
    assert_eq!(scene.settle(&leases, done()).await.done, 1, "what was in hands may end");
    assert_eq!(scene.ended().await, Counts { cancelled: 2, done: 1, ..Counts::default() });
}

async fn a_deleted_queue_leaves_the_sums(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let more = QueueTerms { dead_queue: None, max_deliveries: None, ..terms() };
    scene.store.control.create_queue(&name("more"), &more).await.unwrap();
    scene.publish_all(&[2, 3, 4]).await;
    assert_eq!(scene.standing().await.copies, 6);
    let leases = scene.receive("rows").await;
    scene.settle(&leases, done()).await;
    let one = scene.relay.receive(&name("more"), 1, Duration::ZERO).await.unwrap();
    scene.settle(&one, done()).await;
    assert_eq!(scene.ended().await.done, 4);

    scene.store.control.delete_queue(&name("more")).await.unwrap();
    scene.relay.names_changed();
    scene.relay.queue_deleted(&name("more")).await.unwrap();
    assert_eq!(scene.engine.ids("more"), Vec::<String>::new());
    scene.store.clock.advance(Duration::from_secs(11));
    let sql = SqlBroker::new(scene.store.clone(), SqlBrokerLimits::default()).await.unwrap();
    Keeper::new(sql).and(Some(scene.relay.chore())).all().await.unwrap();
    let standing = scene.standing().await;
    assert_eq!((standing.copies, standing.ended.done), (3, 3));
    let state = scene.store.control.upload(scene.upload.id).await.unwrap().state;
    assert_eq!(state, UploadState::Ended);
    let missing = scene.relay.receive(&name("more"), 1, Duration::ZERO).await;
    assert!(matches!(missing, Err(BrokerError::NoQueue(_))), "{missing:?}");
}

async fn a_deleted_upload_leaves_nothing(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish_all(&[2, 3]).await;
    let leases = scene.relay.receive(&name("rows"), 1, Duration::ZERO).await.unwrap();
    scene.settle(&leases, done()).await;
    assert!(scene.store.log.cancel(scene.upload.id).await.unwrap());
    assert!(scene.store.log.delete_upload(scene.upload.id).await.unwrap());
    assert_eq!(scene.outcomes("rows").await, []);
    assert!(scene.receive("rows").await.is_empty());
    assert_eq!(scene.engine.ids("rows"), Vec::<String>::new());
    assert_eq!(scene.outcomes("rows").await, []);
}

async fn a_purge_is_counted(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.publish_all(&[2, 3, 4]).await;
    let leases = scene.relay.receive(&name("rows"), 1, Duration::ZERO).await.unwrap();
    assert_eq!(scene.relay.purge(&name("rows")).await.unwrap(), 2);
    assert_eq!(scene.ended().await, Counts { cancelled: 2, ..Counts::default() });
    assert_eq!(scene.settle(&leases, retry("once more")).await.again, 1);
    let leases = tokio::time::timeout(PATIENCE, scene.receive("rows")).await.unwrap();
    assert_eq!(leases[0].deliveries[0].attempt, 2);
}
