//! Pausing and resuming, and uploads that pause by themselves.

use std::time::Duration;

use reqwest::StatusCode;
use rowmill::api::{Upload, UploadStatus};
use rowmill::broker::keeper::Keeper;
use rowmill::broker::{Source, SqlBroker, SqlBrokerLimits};
use rowmill::domain::{Lease, QueueName, Settlement, Verdict};
use rowmill::store::control::NewQueue;
use rowmill::store::log::UploadId;

use crate::scene::{PATIENCE, Scene, csv, problem};
use crate::support::TestDatabase;

async fn nothing_of_a_paused_upload_is_handed_out(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let other = scene.published("other.csv", csv(5)).await;
    assert_eq!(scene.work("rows", 5).await, 5);
    let upload = scene.published("many.csv", csv(200)).await;
    let hands = receive(&scene, 10).await;
    assert_eq!(hands, 10);
    let leases = scene.broker.receive(&queue(), 7, PATIENCE).await.unwrap();

    let paused = act(&scene, &upload, "pause").await;
    assert!(paused.paused.as_ref().is_some_and(|paused| paused.reason.is_none()), "{paused:?}");
    assert_eq!(paused.status, UploadStatus::Published);
    assert_eq!(act(&scene, &upload, "pause").await.paused, paused.paused, "it stays as it is");
    assert!(empty(&scene).await);
    // What is in hands settles; what comes back waits.
    settle(&scene, leases, |at| match at {
        0 => Verdict::Done { output: None },
        1 => Verdict::Reject { reason: "no".into() },
        2 => Verdict::Release,
        _ => Verdict::Retry { reason: "later".into(), after: Some(Duration::ZERO) },
    })
    .await;
    assert!(empty(&scene).await, "what was given back was handed out");
    let shown: Upload = scene.get(&upload.links.this).await;
    assert_eq!((shown.counts.done, shown.counts.dead, shown.counts.in_flight), (11, 1, 0));
    assert_eq!(shown.counts.waiting, 188);
    assert_eq!(shown.pace.unwrap().seconds_left, None);
    let stats: serde_json::Value = scene.get("/queues/rows/stats").await;
    assert_eq!(
        (&stats["num_held_messages"], &stats["num_undelivered_messages"]),
        (&188.into(), &0.into()),
        "{stats}"
    );
    // Another upload is not held up.
    let fresh = scene.published("fresh.csv", csv(3)).await;
    assert_eq!(scene.work("rows", 500).await, 3);
    let fresh: Upload = scene.get(&fresh.links.this).await;
    assert_eq!(fresh.status, UploadStatus::Ended);

    // A consumer that waits is woken.
    let broker = scene.broker.clone();
    let waiting = tokio::spawn(async move { broker.receive(&queue(), 1, PATIENCE).await.unwrap() });
    let resumed = act(&scene, &upload, "resume").await;
    assert!(resumed.paused.is_none());
    settle(&scene, waiting.await.unwrap(), |_| Verdict::Done { output: None }).await;
    assert_eq!(scene.work("rows", 500).await, 187);
    let ended: Upload = scene.get(&upload.links.this).await;
    assert_eq!((ended.status, ended.counts.done), (UploadStatus::Ended, 199));

    for over in [&upload, &other] {
        scene.store.log.end_uploads().await.unwrap();
        for what in ["pause", "resume"] {
            let refused = problem(post(&scene, over, what).await).await;
            assert_eq!(refused.status, 409, "{what}: {refused:?}");
        }
    }
    let nobody = scene.url("/uploads/00000000-0000-4000-8000-000000000000/pause");
    assert_eq!(problem(scene.client.post(nobody).send().await.unwrap()).await.status, 404);
    let odd = scene.url(&format!("{}/pause?for=ever", upload.links.this));
    assert_eq!(problem(scene.client.post(odd).send().await.unwrap()).await.status, 422);
}

async fn a_paused_upload_can_be_cancelled(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("many.csv", csv(50)).await;
    act(&scene, &upload, "pause").await;
    let cancelled = act(&scene, &upload, "cancel").await;
    assert_eq!((cancelled.status, cancelled.counts.cancelled), (UploadStatus::Cancelled, 50));
    assert!(cancelled.paused.is_none());
}

/// Two keepers at once, as of two servers: one of them does it, and once.
async fn it_pauses_by_itself_past_its_failures(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let many = scene.upload("?wait=true&stop_after_failures=3", &[("many.csv", csv(100))]).await;
    let many = scene.taken(many).await.remove(0);
    assert_eq!(many.stop_after_failures.as_deref(), Some("3"));
    let (one, other) = (keeper(&scene).await, keeper(&scene).await);
    let round = async || {
        let (one, other) = (keeper_round(&one).await, keeper_round(&other).await);
        one + other
    };
    reject(&scene, 2).await;
    assert_eq!(round().await, 0, "2 are not 3");
    reject(&scene, 1).await;
    assert_eq!(round().await, 1);
    let stopped: Upload = scene.get(&many.links.this).await;
    let reason = stopped.paused.unwrap().reason.unwrap();
    assert_eq!(reason, "3 of 3 messages failed; it stops after 3");
    assert!(empty(&scene).await);

    // Whoever resumes it has seen those; the next ones count.
    act(&scene, &many, "resume").await;
    assert_eq!(round().await, 0);
    reject(&scene, 2).await;
    assert_eq!(scene.work("rows", 10).await, 10);
    assert_eq!(round().await, 0);
    reject(&scene, 1).await;
    assert_eq!(round().await, 1);
    let stopped: Upload = scene.get(&many.links.this).await;
    let reason = stopped.paused.unwrap().reason.unwrap();
    assert_eq!(reason, "3 of 13 messages failed; it stops after 3");

    // Somebody who resumed it after it was looked at is not overruled.
    let id = upload_id(&scene, &many).await;
    let seen = |steered| rowmill::store::log::PausedBy::Failures { why: "late", steered };
    act(&scene, &many, "resume").await;
    assert!(!scene.store.log.pause(id, seen(3)).await.unwrap());
    assert!(scene.store.log.pause(id, seen(4)).await.unwrap());
}

async fn a_part_of_few_is_not_too_much(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let many =
        scene.upload("?wait=true&stop_after_failures=10%25", &[("many.csv", csv(300))]).await;
    let many = scene.taken(many).await.remove(0);
    let keeper = keeper(&scene).await;
    reject(&scene, 20).await;
    assert_eq!(keeper_round(&keeper).await, 0, "of 20 none says much");
    assert_eq!(scene.work("rows", 79).await, 79);
    assert_eq!(keeper_round(&keeper).await, 0, "99 are few still");
    assert_eq!(scene.work("rows", 1).await, 1);
    assert_eq!(keeper_round(&keeper).await, 1);
    let stopped: Upload = scene.get(&many.links.this).await;
    let reason = stopped.paused.unwrap().reason.unwrap();
    assert_eq!(reason, "20 of 100 messages failed; it stops after 10%");
    for bad in ["0", "0%25", "100%25", "-1", "many", "5%25%25", ""] {
        let refused =
            scene.upload(&format!("?stop_after_failures={bad}"), &[("a.csv", csv(1))]).await;
        assert_eq!(problem(refused).await.status, 422, "{bad}");
    }
}

async fn a_retry_of_a_paused_upload_waits(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let control = &scene.store.control;
    let topic = control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
    let dead = control.ensure_queue(&NewQueue::new("rows-dead".parse().unwrap())).await.unwrap();
    let rows = NewQueue { topic: Some(topic), dead_queue: Some(dead), ..NewQueue::new(queue()) };
    control.ensure_queue(&rows).await.unwrap();
    let upload = scene.published("many.csv", csv(10)).await;
    reject(&scene, 4).await;
    act(&scene, &upload, "pause").await;
    let retried = act(&scene, &upload, "retry").await;
    assert_eq!((retried.counts.dead, retried.counts.waiting), (0, 10));
    assert!(retried.paused.is_some());
    assert!(empty(&scene).await);
    act(&scene, &upload, "resume").await;
    assert_eq!(scene.work("rows", 20).await, 10);
}

fn queue() -> QueueName {
    "rows".parse().unwrap()
}

async fn post(scene: &Scene, upload: &Upload, what: &str) -> reqwest::Response {
    let url = scene.url(&format!("{}/{what}", upload.links.this));
    scene.client.post(url).send().await.unwrap()
}

async fn act(scene: &Scene, upload: &Upload, what: &str) -> Upload {
    let answer = post(scene, upload, what).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{what}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Receives and acks so many.
async fn receive(scene: &Scene, most: usize) -> usize {
    scene.work("rows", most).await
}

/// Whether a receive finds nothing.
async fn empty(scene: &Scene) -> bool {
    scene.broker.receive(&queue(), 100, Duration::from_millis(50)).await.unwrap().is_empty()
}

async fn settle(scene: &Scene, leases: Vec<Lease>, verdict: impl Fn(usize) -> Verdict) {
    let mut at = 0;
    let settlements = leases.into_iter().map(|lease| {
        let all = lease.deliveries.iter().map(|one| {
            at += 1;
            Settlement { position: one.position, verdict: verdict(at - 1) }
        });
        (lease.receipt, all.collect())
    });
    let settlements: Vec<_> = settlements.collect();
    scene.broker.settle(settlements).await.unwrap();
}

async fn reject(scene: &Scene, most: usize) {
    let mut left = most;
    while left > 0 {
        let leases = scene.broker.receive(&queue(), left, PATIENCE).await.unwrap();
        left -= leases.iter().map(|lease| lease.deliveries.len()).sum::<usize>();
        settle(scene, leases, |_| Verdict::Reject { reason: "no".into() }).await;
    }
}

async fn keeper(scene: &Scene) -> SqlBroker {
    SqlBroker::new(scene.store.clone(), SqlBrokerLimits::default()).await.unwrap()
}

async fn keeper_round(broker: &SqlBroker) -> u64 {
    Keeper::new(broker.clone()).round().await.unwrap().stopped
}

async fn upload_id(scene: &Scene, upload: &Upload) -> UploadId {
    scene.store.control.upload_by_public_id(upload.id).await.unwrap().unwrap().id
}

on_both!(
    nothing_of_a_paused_upload_is_handed_out,
    a_paused_upload_can_be_cancelled,
    it_pauses_by_itself_past_its_failures,
    a_part_of_few_is_not_too_much,
    a_retry_of_a_paused_upload_waits,
);
