//! Uploads share the workers: the one that came later does not wait for the end of the one before.

use rowmill::api::{Upload, UploadStatus};

use crate::scene::{Scene, csv};
use crate::support::TestDatabase;

/// Rows that a worker takes at a time, as many as a batch of an upload has in these scenes.
const BATCH: usize = 64;

async fn a_small_upload_is_not_stuck_behind_a_large_one(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let large = scene.published("large.csv", csv(10_000)).await;
    assert_eq!(scene.work("rows", 1_000).await, 1_000);
    let small = scene.published("small.csv", csv(100)).await;
    let mut batches = 0;
    let of_large = loop {
        assert_eq!(scene.work("rows", BATCH).await, BATCH);
        batches += 1;
        let small: Upload = scene.get(&small.links.this).await;
        let large: Upload = scene.get(&large.links.this).await;
        if small.status == UploadStatus::Ended {
            break large;
        }
        assert!(batches < 20, "{batches} batches, and of the small one {:?}", small.counts);
    };
    // Nor does the large one wait: its batches came between the two of the small one.
    assert!(of_large.counts.done > 1_000, "{:?}", of_large.counts);
    assert!(of_large.counts.done < 2_000, "{:?}", of_large.counts);
}

on_both!(a_small_upload_is_not_stuck_behind_a_large_one);
