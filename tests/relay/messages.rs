//! Messages that are no rows, from rowmill and from other programs, and what a relay cannot do.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rowmill::broker::{Broker, BrokerError, CopyOf, MessageBody, Once, Source};
use rowmill::domain::{MessageState, Verdict};
use rowmill::store::control::QueueTerms;

use crate::scene::{Scene, all_of, done, name, terms};
use crate::support::TestDatabase;

on_both!(
    a_message_goes_and_ends,
    a_full_queue_is_told_at_once,
    a_name_is_used_once,
    plain_messaging_writes_nothing,
    what_a_foreign_program_sends_is_worked_on,
    a_receive_that_nobody_waits_for_gives_back,
    what_cannot_be_done_is_said,
    old_ends_are_removed,
);

fn bodies(n: usize) -> Vec<MessageBody> {
    let body = |n| MessageBody {
        data: Bytes::from(format!(r#"{{"n":{n}}}"#)),
        attributes: BTreeMap::from([("color".into(), "red".into())]),
    };
    (0..n).map(body).collect()
}

async fn publish(
    scene: &Scene,
    n: usize,
    key: Option<&str>,
) -> Result<Vec<Vec<CopyOf>>, BrokerError> {
    let once = key.map(|key| Once { key: key.into(), fingerprint: n.to_string() });
    scene.relay.publish_messages(&"rows".parse().unwrap(), bodies(n), once).await
}

/// Rows of the table of ends.
async fn recorded(scene: &Scene) -> i64 {
    let sql = "select count(*) from carried_end";
    match (scene.store.postgres_pool(), scene.store.sqlite_pool()) {
        (Some(pool), _) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        (_, Some(pool)) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        _ => unreachable!("it is one of them"),
    }
}

async fn a_message_goes_and_ends(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let copies = publish(&scene, 2, None).await.unwrap();
    let seen = scene.relay.peek(&name("rows"), 1).await.unwrap();
    assert_eq!((seen[0].id, seen[0].state), (copies[0][0].id, MessageState::Waiting));
    let leases = scene.receive("rows").await;
    let first = &leases[0].deliveries[0];
    assert_eq!((first.id, &first.origin), (copies[0][0].id, &None));
    assert_eq!(first.attributes.as_deref(), Some(r#"{"color":"red"}"#));
    let stats = scene.relay.stats(&name("rows")).await.unwrap();
    assert_eq!((stats.depth.in_flight, stats.depth.ready), (2, 0));
    let longer = scene.relay.extend(vec![leases[0].receipt]).await.unwrap();
    assert_eq!(longer, [Some(Duration::from_secs(60))]);
    assert_eq!(scene.settle(&leases, done()).await.done, 2);
    assert_eq!(scene.relay.extend(vec![leases[0].receipt]).await.unwrap(), [None]);
    assert_eq!(scene.settle(&leases, done()).await.stale, [0, 1]);
    let outcomes = scene.outcomes("rows").await;
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes[0], (0, "Done".into(), 1, "7".into()));
}

async fn a_full_queue_is_told_at_once(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.engine.state().room = Some(3);
    publish(&scene, 2, None).await.unwrap();
    for full in [publish(&scene, 2, None).await, publish(&scene, 1, None).await] {
        let is_so = matches!(&full, Err(BrokerError::Full(queue)) if *queue == name("rows"));
        assert!(is_so, "{full:?}");
    }
    let leases = scene.receive("rows").await;
    assert_eq!(leases[0].deliveries.len(), 3, "what there was room for is there");
    scene.settle(&leases, done()).await;
    publish(&scene, 3, None).await.unwrap();
}

async fn a_name_is_used_once(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let first = publish(&scene, 2, Some("k")).await.unwrap();
    assert_eq!(publish(&scene, 2, Some("k")).await.unwrap(), first);
    assert_eq!(scene.engine.ids("rows").len(), 2);
    let other = publish(&scene, 1, Some("k")).await;
    assert!(matches!(other, Err(BrokerError::KeyReused)), "{other:?}");
    assert_ne!(publish(&scene, 2, Some("l")).await.unwrap(), first);
}

async fn plain_messaging_writes_nothing(database: TestDatabase) {
    let scene = Scene::with(database, QueueTerms { record_outcomes: false, ..terms() }).await;
    publish(&scene, 3, None).await.unwrap();
    let leases = scene.receive("rows").await;
    assert_eq!(scene.settle(&leases, done()).await.done, 3);
    assert_eq!((recorded(&scene).await, scene.outcomes("rows").await.len()), (0, 0));
    assert!(scene.engine.ids("rows").is_empty());
    publish(&scene, 1, None).await.unwrap();
    let leases = scene.receive("rows").await;
    let reject = Verdict::Reject { reason: "never".into() };
    assert_eq!(scene.settle(&leases, reject).await.dead, 1);
    assert_eq!(scene.engine.ids("dead").len(), 1);
    scene.publish(&[2]).await.unwrap();
    let leases = scene.receive("rows").await;
    scene.settle(&leases, done()).await;
    assert_eq!(recorded(&scene).await, 1, "the ends of rows always are");
}

async fn what_a_foreign_program_sends_is_worked_on(database: TestDatabase) {
    let scene = Scene::new(database).await;
    publish(&scene, 1, None).await.unwrap();
    let leases = scene.receive("rows").await;
    scene.settle(&leases, done()).await;
    scene.engine.put("rows", "order-7", r#"{"a":1}"#);
    scene.engine.put("rows", "", r#"{"b":2}"#);
    scene.engine.put("rows", "order-8", "hello");
    let leases = scene.receive("rows").await;
    let data: Vec<&str> = leases[0].deliveries.iter().map(|delivery| &*delivery.data).collect();
    assert_eq!(data, [r#"{"a":1}"#, r#"{"b":2}"#]);
    assert_eq!(leases[0].deliveries[0].attributes.as_deref(), Some(r#"{"color":"red"}"#));
    assert_eq!(scene.settle(&leases, done()).await.done, 2);
    let errors: Vec<String> = scene
        .outcomes("rows")
        .await
        .into_iter()
        .filter(|outcome| outcome.1 == "Dead")
        .map(|outcome| outcome.3)
        .collect();
    assert_eq!(errors, ["its body is no JSON object"]);
    assert_eq!(scene.engine.ids("dead"), ["order-8"]);
    scene.engine.put("rows", "order-7", r#"{"a":1}"#);
    assert!(scene.receive("rows").await.is_empty(), "the same again has ended");
}

async fn a_receive_that_nobody_waits_for_gives_back(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let rows = name("rows");
    let waiting = scene.relay.receive(&rows, 1, Duration::from_secs(60));
    let dropped = tokio::time::timeout(Duration::from_millis(30), waiting).await;
    assert!(dropped.is_err());
    publish(&scene, 1, None).await.unwrap();
    let leases = scene.relay.receive(&name("rows"), 1, Duration::from_secs(5)).await.unwrap();
    assert_eq!(leases[0].deliveries.len(), 1);
}

async fn what_cannot_be_done_is_said(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.engine.state().delay_most = Some(Duration::from_secs(900));
    let copies = publish(&scene, 1, None).await.unwrap();
    let leases = scene.receive("rows").await;
    let other = scene.another().await;
    let unsupported = |error: &BrokerError| matches!(error, BrokerError::Unsupported { .. });
    let asked = || vec![(leases[0].receipt, all_of(&leases[0], &done()))];
    assert!(unsupported(&other.settle(asked()).await.unwrap_err()));
    assert!(unsupported(&other.extend(vec![leases[0].receipt]).await.unwrap_err()));
    assert!(unsupported(&scene.relay.message(copies[0][0].id).await.unwrap_err()));
    let late = Verdict::Retry { reason: "x".into(), after: Some(Duration::from_secs(901)) };
    let error = scene.relay.settle(vec![(leases[0].receipt, all_of(&leases[0], &late))]).await;
    assert!(unsupported(&error.unwrap_err()));
    assert_eq!(scene.relay.settle(asked()).await.unwrap()[0].done, 1, "it is still in hands");
    let slow = QueueTerms { delay: Duration::from_secs(901), dead_queue: None, ..terms() };
    let slow = QueueTerms { max_deliveries: None, topic: None, ..slow };
    scene.store.control.create_queue(&name("slow"), &slow).await.unwrap();
    assert!(unsupported(&scene.relay.queue_made(&name("slow")).await.unwrap_err()));
}

async fn old_ends_are_removed(database: TestDatabase) {
    let scene = Scene::new(database).await;
    publish(&scene, 3, None).await.unwrap();
    scene.publish(&[2]).await.unwrap();
    let leases = scene.receive("rows").await;
    scene.settle(&leases, done()).await;
    assert_eq!(recorded(&scene).await, 4);
    let age = Duration::from_secs(3_600);
    assert_eq!(scene.store.log.remove_carried(age, 100).await.unwrap(), 0);
    scene.store.clock.advance(age + Duration::from_secs(1));
    assert_eq!(scene.store.log.remove_carried(age, 100).await.unwrap(), 3);
    assert_eq!((recorded(&scene).await, scene.outcomes("rows").await.len()), (1, 1));
    let kinds = scene.store.log.known(scene.number("rows").await, &[], &[scene.upload.id]).await;
    let known = kinds.unwrap();
    assert_eq!((known.ended.len(), known.open.len()), (0, 1));
}
