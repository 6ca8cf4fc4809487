//! What every spool does, wherever it is.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rowmill::ingest::spool::SpoolError;
use sha2::{Digest, Sha256};

use crate::scene::{PART, Scene, content, pieces};

macro_rules! everywhere {
    ($($test:ident),* $(,)?) => {
        mod directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::scene::Scene::directory()).await;
            })*
        }
        mod bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::scene::Scene::bucket().await).await;
            })*
        }
    };
}

everywhere!(
    what_was_put_there_is_there,
    a_file_over_its_limit_is_refused_at_the_first_byte_too_many,
    a_file_that_is_given_up_leaves_nothing,
    a_file_that_nobody_waits_for_leaves_nothing,
    what_is_not_there_is_told,
    what_is_discarded_goes,
    it_is_written_to_and_left_as_it_was,
    what_is_being_received_is_not_swept,
);

async fn what_was_put_there_is_there(scene: Scene) {
    // Around the edges of the buffer, of one part, and of several.
    for size in [0, 1, 256 << 10, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 77] {
        let bytes = content(size);
        let done = scene.put(&bytes).await.unwrap();
        assert_eq!((done.bytes, done.filename.as_str()), (size as u64, "a.csv"));
        let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(done.content_hash, hash);
        let at_hand = std::fs::read(done.local.as_ref().unwrap().path()).unwrap();
        assert!(at_hand == bytes, "{size}: what is at hand is something else");
        drop(done.local);

        let local = scene.spool.local(&done.spool, done.bytes, &hash).await.unwrap();
        assert!(std::fs::read(local.path()).unwrap() == bytes, "{size}: it is something else");
        drop(local);
        assert_eq!(scene.all().await.len(), 1, "{:?}", scene.all().await);
        scene.spool.remove(&done.spool).await.unwrap();
        scene.spool.remove(&done.spool).await.unwrap();
        assert!(scene.all().await.is_empty(), "{:?}", scene.all().await);
    }
}

async fn a_file_over_its_limit_is_refused_at_the_first_byte_too_many(scene: Scene) {
    for size in [4, 2 * PART] {
        let mut file = scene.spool.create(size as u64).await.unwrap();
        for piece in pieces(&content(size)) {
            file.write(&piece).await.unwrap();
        }
        let refused = file.write(&Bytes::from_static(b"5")).await;
        let limit = size as u64;
        assert!(
            matches!(refused, Err(SpoolError::TooLarge { limit: told }) if told == limit),
            "{refused:?}"
        );
        drop(file);
        scene.spool.settled().await;
        assert!(scene.all().await.is_empty(), "{:?}", scene.all().await);
    }
}

async fn a_file_that_is_given_up_leaves_nothing(scene: Scene) {
    for size in [0, 10, PART - 1, 2 * PART + 5] {
        let mut file = scene.spool.create(1 << 30).await.unwrap();
        for piece in pieces(&content(size)) {
            file.write(&piece).await.unwrap();
        }
        assert!(!scene.all().await.is_empty(), "nothing was ever there");
        drop(file);
        scene.spool.settled().await;
        assert!(scene.all().await.is_empty(), "{size}: {:?}", scene.all().await);
    }
}

async fn a_file_that_nobody_waits_for_leaves_nothing(scene: Scene) {
    for size in [10, 2 * PART + 5] {
        // Given up at once, and after every wait on the way to the end.
        for waits in 0..6 {
            let mut file = scene.spool.create(1 << 30).await.unwrap();
            for piece in pieces(&content(size)) {
                file.write(&piece).await.unwrap();
            }
            let mut finish = Box::pin(file.finish("a.csv".into()));
            let mut done = None;
            for _ in 0..waits {
                done = done.or((&mut finish).now_or_never());
                if done.is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(finish);
            if let Some(done) = done {
                scene.spool.remove(&done.unwrap().spool).await.unwrap();
            }
            scene.spool.settled().await;
            // The directory's last step goes on by itself for a moment.
            let until = tokio::time::Instant::now() + crate::scene::PATIENCE;
            while !scene.all().await.is_empty() {
                assert!(tokio::time::Instant::now() < until, "{size}: {:?}", scene.all().await);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn what_is_not_there_is_told(scene: Scene) {
    let missing = scene.spool.local("nothing", 1, "0").await;
    assert!(matches!(missing, Err(SpoolError::Missing { .. })), "{missing:?}");
    let told = missing.unwrap_err().to_string();
    assert!(told.contains("nothing") && told.contains(&scene.spool.place()), "{told}");
}

async fn what_is_discarded_goes(scene: Scene) {
    let done = scene.put(&content(10)).await.unwrap();
    drop(done.local);
    scene.spool.discard(&done.spool);
    scene.spool.settled().await;
    assert!(scene.all().await.is_empty(), "{:?}", scene.all().await);
}

async fn it_is_written_to_and_left_as_it_was(scene: Scene) {
    scene.spool.prepare().await.unwrap();
    scene.spool.probe().await.unwrap();
    assert!(scene.all().await.is_empty(), "{:?}", scene.all().await);
}

async fn what_is_being_received_is_not_swept(scene: Scene) {
    let mut file = scene.spool.create(1 << 30).await.unwrap();
    for piece in pieces(&content(PART + 1)) {
        file.write(&piece).await.unwrap();
    }
    assert_eq!(scene.spool.sweep(Duration::from_secs(60)).await.unwrap(), 0);
    let done = file.finish("a.csv".into()).await.unwrap();
    assert_eq!(scene.spool.sweep(Duration::ZERO).await.unwrap(), 0);
    assert!(done.local.as_ref().unwrap().path().exists());
    scene.spool.local(&done.spool, done.bytes, &done.content_hash).await.unwrap();
}
