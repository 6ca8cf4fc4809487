//! What identifies a row (`key=COLUMNS`): seen again in the file or in the topic, it is a counted
//! duplicate and no second message.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::StatusCode;
use rowmill::api::{Finding, Page, Upload, UploadStatus};
use rowmill::broker::Source;
use rowmill::domain::{QueueName, RowNumber, Settlement, Verdict};
use rowmill::store::Store;
use rowmill::store::control::NewUpload;
use rowmill::store::log::{Claim, Fence, KeyedRow, LogError, UploadId};
use serde_json::Value;

use crate::scene::{Scene, problem};
use crate::support::TestDatabase;

async fn sent(scene: &Scene, query: &str, csv: &str) -> Upload {
    let answer = scene.upload(query, &[("a.csv", csv.as_bytes().to_vec())]).await;
    scene.taken(answer).await.remove(0)
}

/// Receives all that waits, settles it, and answers the ids.
async fn ids(scene: &Scene, verdict: impl Fn(&str) -> Verdict) -> Vec<String> {
    let queue: QueueName = "rows".parse().unwrap();
    let mut all = vec![];
    loop {
        let wait = Duration::from_millis(100);
        let leases = scene.broker.receive(&queue, 1_000, wait).await.unwrap();
        if leases.is_empty() {
            return all;
        }
        let mut settlements = vec![];
        for lease in &leases {
            let mut one = vec![];
            for delivery in &lease.deliveries {
                let data: Value = serde_json::from_str(&delivery.data).unwrap();
                let id = data["id"].as_str().unwrap_or("none").to_owned();
                let (position, verdict) = (delivery.position, verdict(&id));
                one.push(Settlement { position, verdict });
                all.push(id);
            }
            settlements.push((lease.receipt, one));
        }
        scene.broker.settle(settlements).await.unwrap();
    }
}

fn done(_: &str) -> Verdict {
    Verdict::Done { output: None }
}

fn closes(upload: &Upload) {
    let counts = upload.counts;
    let became = counts.published + counts.unrouted + counts.rejected + counts.duplicates;
    assert_eq!(counts.read, became, "{counts:?}");
}

async fn a_row_is_sent_once_for_its_key(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let csv = "id,n\nA,1\nB,2\nA,3\n,4\n,5\nB,6\n";
    let first = sent(&scene, "?wait=true&key=id", csv).await;
    assert_eq!((first.counts.published, first.counts.duplicates), (4, 2));
    closes(&first);
    let told: Page<Finding> = scene.get(&first.links.rejects).await;
    let told: Vec<_> = told.data.iter().map(|one| (one.address.as_str(), &*one.detail)).collect();
    assert_eq!(
        told,
        [
            ("4:4", "a duplicate: row 2 has the same `id`"),
            ("7:7", "a duplicate: row 3 has the same `id`")
        ]
    );
    assert_eq!(ids(&scene, done).await, ["A", "B", "none", "none"]);
    let now: Upload = scene.get(&first.links.this).await;
    assert_eq!(now.status, UploadStatus::Ended);

    let second = sent(&scene, "?wait=true&key=id", "n,id\n9,B\n9,C\n").await;
    assert_eq!((second.counts.published, second.counts.duplicates), (1, 1));
    closes(&second);
    let told: Page<Finding> = scene.get(&second.links.rejects).await;
    assert!(told.data[0].detail.contains(&first.id.to_string()), "{told:?}");
    assert_eq!(ids(&scene, done).await, ["C"]);

    // All of a file may be there already.
    let third = sent(&scene, "?wait=true&key=id", "id\nA\nB\nC\n").await;
    assert_eq!((third.counts.published, third.counts.duplicates), (0, 3));
    let now: Upload = scene.get(&third.links.this).await;
    assert_eq!(now.status, UploadStatus::Ended);

    // Without a key, or by another, nothing is a duplicate of these.
    assert_eq!(sent(&scene, "?wait=true", "id\nA\n").await.counts.published, 1);
    assert_eq!(sent(&scene, "?wait=true&key=id,n", "id,n\nA,1\n").await.counts.published, 1);
    let unknown = scene.upload("?key=Id", &[("a.csv", b"id\nA\n".to_vec())]).await;
    assert_eq!(unknown.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem(unknown).await.detail.contains("named as the key"));

    // With its upload a key goes.
    ids(&scene, done).await;
    let deleted = scene.client.delete(scene.url(&first.links.this)).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    let after = sent(&scene, "?wait=true&key=id", "id\nA\nB\nC\n").await;
    assert_eq!((after.counts.published, after.counts.duplicates), (2, 1));
}

async fn what_failed_may_be_sent_again(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let query = "?wait=true&key=id";
    sent(&scene, query, "id\nA\nB\n").await;
    let reject = |id: &str| match id {
        "A" => Verdict::Reject { reason: "no".into() },
        _ => Verdict::Done { output: None },
    };
    ids(&scene, reject).await;
    let second = sent(&scene, query, "id\nA\nB\nA\n").await;
    assert_eq!((second.counts.published, second.counts.duplicates), (1, 2));
    // It waits: that is as good as done.
    assert_eq!(sent(&scene, query, "id\nA\n").await.counts.duplicates, 1);
    // Withdrawn, it is free again; and so is what a purge cancelled.
    let cancel = scene.client.post(scene.url(&format!("{}/cancel", second.links.this)));
    assert_eq!(cancel.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(sent(&scene, query, "id\nA\n").await.counts.published, 1);
    let purge = scene.client.put(scene.url("/queues/rows/purge"));
    assert!(purge.send().await.unwrap().status().is_success());
    let last = sent(&scene, query, "id\nA\nB\n").await;
    assert_eq!((last.counts.published, last.counts.duplicates), (1, 1));
    assert_eq!(ids(&scene, done).await, ["A"]);
    assert_eq!(sent(&scene, query, "id\nA\n").await.counts.duplicates, 1);
}

async fn of_two_at_once_one_has_the_key(database: TestDatabase) {
    let scene = Scene::new(database).await;
    // The second begins where the first ends.
    let csv = |range: &mut dyn Iterator<Item = u32>| {
        range.fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n"))
    };
    let (up, down) = (csv(&mut (0..2_000)), csv(&mut (0..2_000).rev()));
    let query = "?wait=true&key=id";
    let uploads = tokio::join!(
        sent(&scene, query, &up),
        sent(&scene, query, &down),
        sent(&scene, query, &up)
    );
    let counts = [uploads.0, uploads.1, uploads.2].map(|upload| {
        closes(&upload);
        upload.counts
    });
    assert_eq!(counts.iter().map(|counts| counts.published).sum::<u64>(), 2_000);
    assert_eq!(counts.iter().map(|counts| counts.duplicates).sum::<u64>(), 4_000);
    let all = ids(&scene, done).await;
    let once: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), once.len()), (2_000, 2_000));
}

/// An upload that is being ingested.
async fn ingesting(store: &Store) -> Fence {
    let new = NewUpload {
        public_id: uuid::Uuid::new_v4(),
        run_key: None,
        filename: "a.csv".into(),
        content_hash: "0".into(),
        options: "{}".into(),
        topic: store.control.ensure_topic(&"rows".parse().unwrap()).await.unwrap(),
        bytes: 0,
        spool: None,
        stream: false,
        corrects: None,
        lease: None,
    };
    store.control.create_upload(new).await.unwrap().fence()
}

async fn an_ingestion_that_goes_on_has_its_own_keys(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let store = &scene.store;
    let claim = |fence, rows: &[(u32, u8)]| Claim {
        fence,
        sheet: 0,
        first_id: 1_000,
        rows: rows
            .iter()
            .map(|(row, key)| KeyedRow { row: RowNumber(*row), keys: vec![[*key; 16]] })
            .collect(),
    };
    let holders = async |fence, rows: &[(u32, u8)]| {
        let held = store.log.claim(&claim(fence, rows)).await?;
        Ok::<Vec<Option<(UploadId, u32)>>, LogError>(
            held.into_iter().map(|one| one.map(|one| (one.upload, one.row.0))).collect(),
        )
    };
    let first = ingesting(store).await;
    assert_eq!(
        holders(first, &[(2, 1), (3, 2), (4, 1)]).await.unwrap(),
        [None, None, Some((first.upload, 2))]
    );
    // Another took it over, which the first does not know.
    let now = store.control.take_over(first.upload).await.unwrap().fence();
    assert!(matches!(holders(first, &[(5, 5)]).await, Err(LogError::LeaseLost)));
    assert_eq!(
        holders(now, &[(2, 1), (3, 2), (4, 1)]).await.unwrap(),
        [None, None, Some((first.upload, 2))]
    );
    let second = ingesting(store).await;
    let of_first = Some((first.upload, 2));
    assert_eq!(holders(second, &[(9, 1), (10, 3)]).await.unwrap(), [of_first, None]);
    // What is given up is free.
    store.log.discard(now, "{}").await.unwrap();
    assert_eq!(holders(second, &[(9, 1)]).await.unwrap(), [None]);
}

on_both!(
    a_row_is_sent_once_for_its_key,
    what_failed_may_be_sent_again,
    of_two_at_once_one_has_the_key,
    an_ingestion_that_goes_on_has_its_own_keys,
);
