//! Cancelling and deleting.

use reqwest::StatusCode;
use rowmill::api::{Row, State, Upload, UploadStatus};

use crate::scene::{Scene, csv, problem};
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

on_both!(a_cancelled_upload_keeps_what_was_done, only_what_is_over_is_deleted);
