//! Cancelling, deleting, and retrying the dead.

use reqwest::StatusCode;
use rowmill::api::{Row, State, Upload, UploadStatus};
use rowmill::broker::Source;
use rowmill::domain::{Settlement, Verdict};
use rowmill::store::control::NewQueue;

use crate::scene::{PATIENCE, Scene, csv, problem};
use crate::support::TestDatabase;

async fn a_cancelled_upload_keeps_what_was_done(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("many.csv", csv(100)).await;
    assert_eq!(scene.work("rows", 30).await, 30);
    let cancel = scene.url(&format!("{}/cancel", upload.links.this));
    let answer = scene.client.post(&cancel).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let cancelled: Upload = answer.json().await.unwrap();
    assert_eq!(cancelled.status, UploadStatus::Cancelled);
    assert_eq!((cancelled.counts.done, cancelled.counts.cancelled), (30, 70));
    assert_eq!(scene.work("rows", 100).await, 0);
    let (rows, _) = scene.pages::<Row>(&upload.links.rows, 40).await;
    let of = |state| rows.iter().filter(|row| row.messages[0].state == state).count();
    assert_eq!((of(State::Done), of(State::Cancelled)), (30, 70));
    let again = problem(scene.client.post(&cancel).send().await.unwrap()).await;
    assert_eq!(again.status, 409, "{again:?}");
}

async fn only_what_is_over_is_deleted(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("few.csv", csv(10)).await;
    let this = scene.url(&upload.links.this);
    let early = problem(scene.client.delete(&this).send().await.unwrap()).await;
    assert_eq!(early.status, 409, "{early:?}");
    assert_eq!(scene.spooled().len(), 1);
    assert_eq!(scene.work("rows", 10).await, 10);
    let shown: Upload = scene.get(&upload.links.this).await;
    assert_eq!(shown.status, UploadStatus::Ended);
    let deleted = scene.client.delete(&this).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
    for request in [
        scene.client.get(&this),
        scene.client.delete(&this),
        scene.client.get(format!("{this}/rows")),
        scene.client.post(format!("{this}/cancel")),
    ] {
        assert_eq!(problem(request.send().await.unwrap()).await.status, 404);
    }
}

async fn the_dead_of_an_upload_are_retried_and_no_others(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let control = &scene.store.control;
    let topic = control.ensure_topic(&"rows".parse().unwrap()).await.unwrap();
    let dead = control.ensure_queue(&NewQueue::new("rows-dead".parse().unwrap())).await.unwrap();
    let rows = NewQueue {
        topic: Some(topic),
        dead_queue: Some(dead),
        ..NewQueue::new("rows".parse().unwrap())
    };
    control.ensure_queue(&rows).await.unwrap();
    let first = scene.published("first.csv", csv(10)).await;
    assert_eq!(reject(&scene, 4).await, 4);
    assert_eq!(scene.work("rows", 10).await, 6);
    let second = scene.published("second.csv", csv(5)).await;
    assert_eq!(reject(&scene, 5).await, 5);
    let ended: Upload = scene.get(&first.links.this).await;
    assert_eq!((ended.status, ended.counts.dead), (UploadStatus::Ended, 4));
    scene.store.log.end_uploads().await.unwrap();

    let retry = async |upload: &Upload| {
        let url = scene.url(&format!("{}/retry", upload.links.this));
        scene.client.post(url).send().await.unwrap()
    };
    let answer = retry(&first).await;
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    let retried: Upload = answer.json().await.unwrap();
    assert_eq!(retried.status, UploadStatus::Published);
    assert_eq!((retried.counts.dead, retried.counts.waiting, retried.counts.done), (0, 4, 6));
    let other: Upload = scene.get(&second.links.this).await;
    assert_eq!((other.counts.dead, other.counts.waiting), (5, 0));
    assert_eq!(scene.work("rows", 10).await, 4);
    let done: Upload = scene.get(&first.links.this).await;
    assert_eq!((done.status, done.counts.done), (UploadStatus::Ended, 10));
    let again = problem(retry(&first).await).await;
    assert_eq!(again.status, 409, "{again:?}");
}

/// Receives and rejects `most` messages of the rows' queue; answers how many.
async fn reject(scene: &Scene, most: usize) -> usize {
    let queue = "rows".parse().unwrap();
    let leases = scene.broker.receive(&queue, most, PATIENCE).await.unwrap();
    let settlements = leases.iter().map(|lease| {
        let verdict = || Verdict::Reject { reason: "not today".into() };
        let all = lease.deliveries.iter();
        let all = all.map(|one| Settlement { position: one.position, verdict: verdict() });
        (lease.receipt, all.collect())
    });
    let settled = scene.broker.settle(settlements.collect()).await.unwrap();
    settled.iter().map(|settled| settled.dead as usize).sum()
}

on_both!(
    a_cancelled_upload_keeps_what_was_done,
    only_what_is_over_is_deleted,
    the_dead_of_an_upload_are_retried_and_no_others,
);
