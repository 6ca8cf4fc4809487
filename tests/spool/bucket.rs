//! What only a bucket can meet: damage, an outage, what a crash left behind, and being misnamed.

use std::time::Duration;

use rowmill::ingest::spool::{CannotSpool, Place, Spool, SpoolError};

use crate::proxy::Proxy;
use crate::s3::{TestBucket, environment};
use crate::scene::{PART, PREFIX, Scene, content, limits, pieces};

#[tokio::test]
async fn a_damaged_object_is_told() {
    let scene = Scene::bucket().await;
    let done = scene.put(&content(PART + 9)).await.unwrap();
    let key = format!("{PREFIX}/{}", done.spool);
    assert_eq!(scene.behind().objects().await, [key.as_str()]);

    let mut other = content(PART + 9).to_vec();
    other[PART] ^= 1;
    for (bytes, says) in [(other, "SHA-256"), (b"short".to_vec(), "5 bytes")] {
        scene.behind().put(&key, bytes).await;
        let found = scene.spool.local(&done.spool, done.bytes, &done.content_hash).await;
        let Err(error @ SpoolError::Damaged { .. }) = found else { panic!("{found:?}") };
        assert!(error.to_string().contains(says), "{error}");
    }
    // What was fetched of them is gone; the copy of who received the file is not.
    let held = std::fs::read_dir(scene.work()).unwrap().count();
    assert_eq!(held, 1);
    drop(done.local);
    assert_eq!(std::fs::read_dir(scene.work()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_crash_left_is_swept_by_its_age() {
    let bucket = TestBucket::new().await;
    let endpoint = bucket.endpoint().to_owned();
    let young = Scene::bucket_at(bucket, &endpoint, |_| {});
    let mine = format!("{PREFIX}/left");
    for key in [mine.as_str(), "up/loads-of-others", "other"] {
        young.behind().begin(key).await;
    }
    assert_eq!(young.spool.sweep(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(young.behind().unfinished().await.len(), 3);

    let place = Place::try_from(young.behind().place(PREFIX)).unwrap();
    let mut limits = limits(&young.work());
    limits.unfinished = Duration::ZERO;
    let old = Spool::open(&place, &limits, environment(&endpoint)).unwrap();
    std::fs::create_dir_all(young.work()).unwrap();
    std::fs::write(young.work().join("left.work"), "x").unwrap();
    // One in the bucket and one here.
    assert_eq!(old.sweep(Duration::ZERO).await.unwrap(), 2);
    let mut left = young.behind().unfinished().await;
    left.sort();
    assert_eq!(left, ["other", "up/loads-of-others"]);
    assert_eq!(std::fs::read_dir(young.work()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_waited_out() {
    let bucket = TestBucket::new().await;
    let proxy = Proxy::new(bucket.endpoint()).await;
    let scene = Scene::bucket_at(bucket, &proxy.endpoint(), |_| {});
    let bytes = content(2 * PART + 3);
    let mut file = scene.spool.create(1 << 30).await.unwrap();
    for piece in pieces(&bytes) {
        file.write(&piece).await.unwrap();
    }
    let finish = tokio::spawn(file.finish("a.csv".into()));
    proxy.asked_again().await;
    assert!(!finish.is_finished(), "it was whole while nothing could be sent");
    proxy.open();
    let done = finish.await.unwrap().unwrap();
    drop(done.local);

    proxy.cut();
    let spool = scene.spool.clone();
    let (name, hash) = (done.spool.clone(), done.content_hash.clone());
    let fetch = tokio::spawn(async move { spool.local(&name, done.bytes, &hash).await });
    proxy.asked_again().await;
    assert!(!fetch.is_finished(), "it was read while nothing could be fetched");
    proxy.open();
    let local = fetch.await.unwrap().unwrap();
    assert!(std::fs::read(local.path()).unwrap() == bytes, "it is something else");
}

/// A connection that is lost before a request is sent on it is not told as one that cannot be made, nor
/// as one that broke off; it takes many tries to meet one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_way_of_losing_a_connection_ends_the_tries() {
    let bucket = TestBucket::new().await;
    let proxy = Proxy::new(bucket.endpoint()).await;
    let scene = Scene::bucket_at(bucket, &proxy.endpoint(), |limits| {
        limits.requests_at_once = 8;
        // hyper may lose a request for good then (hyperium/hyper#4122).
        limits.answer = Duration::from_secs(2);
        limits.again.first = Duration::from_millis(1);
        limits.again.most = Duration::from_millis(2);
    });
    let files = (0..8).map(|_| async {
        let mut file = scene.spool.create(3).await.unwrap();
        file.write(&content(3)).await.unwrap();
        file.finish("a.csv".into()).await.unwrap()
    });
    let opened = async {
        proxy.asked_times(2_000).await;
        proxy.open();
    };
    let (files, ()) = tokio::join!(futures::future::join_all(files), opened);
    assert_eq!(scene.behind().objects().await.len(), files.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_the_patience_is_told_before_the_end_of_the_file() {
    let bucket = TestBucket::new().await;
    let proxy = Proxy::new(bucket.endpoint()).await;
    let scene = Scene::bucket_at(bucket, &proxy.endpoint(), |limits| {
        limits.patience = Duration::from_millis(200);
    });
    let piece = content(1 << 20);
    let mut file = scene.spool.create(1 << 40).await.unwrap();
    let until = tokio::time::Instant::now() + crate::scene::PATIENCE;
    let error = loop {
        assert!(tokio::time::Instant::now() < until, "it was never told");
        match file.write(&piece).await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::Bucket { .. }), "{error}");
    drop(file);
    let probed = scene.spool.probe().await.unwrap_err();
    assert_eq!(probed.why(), "the bucket does not answer as it should");
    proxy.open();
    scene.spool.settled().await;
    scene.spool.probe().await.unwrap();
    assert!(scene.all().await.is_empty(), "{:?}", scene.all().await);
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_told() {
    let home = tempfile::tempdir().unwrap();
    let bucket = TestBucket::new().await;
    let nowhere = Place::try_from(format!("s3://{}-not/a", bucket.name())).unwrap();
    let spool = Spool::open(&nowhere, &limits(home.path()), bucket.environment()).unwrap();
    assert_eq!(spool.prepare().await.unwrap_err().why(), "there is no such bucket");
    assert_eq!(spool.probe().await.unwrap_err().why(), "there is no such bucket");
    assert!(spool.sweep(Duration::ZERO).await.is_err());

    let unknown = [("AWS_VIRTUAL_HOSTED_STYLE_REQUEST".into(), "perhaps".into())];
    let refused = Spool::open(&nowhere, &limits(home.path()), unknown);
    assert!(matches!(refused, Err(CannotSpool::Settings(_))), "{refused:?}");
}
