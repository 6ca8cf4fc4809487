//! Columns that become attributes of their rows' messages, by which queues split an upload.

use std::collections::BTreeMap;

use rowmill::api::{Data, Delivery, Finding, Page, Upload, UploadStatus};

use crate::scene::{Scene, problem};
use crate::support::TestDatabase;

const ORDERS: &str = "\
id,country,\"a, b\"
1,DE,x
2,FR,
3,,y
4,DE,
5,Côte d'Ivoire,z
";

/// What a queue hands out: rows, and their attributes.
async fn taken(scene: &Scene, queue: &str) -> Vec<(u32, BTreeMap<String, String>)> {
    let all: Data<Delivery> = scene.get(&format!("/queues/{queue}/messages?limit=100")).await;
    let attributes = |delivery: &Delivery| {
        let chosen = delivery.attributes.as_ref();
        chosen.map(|json| serde_json::from_str(json.get()).unwrap()).unwrap_or_default()
    };
    all.data.iter().map(|one| (one.row.unwrap(), attributes(one))).collect()
}

fn of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn queues_split_an_upload(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.queue_of("german", "country", &["DE"]).await;
    scene.queue_of("others", "country", &["FR", "Côte d'Ivoire"]).await;
    let query = "?wait=true&topic=rows&attributes=country,%22a,%20b%22";
    let answer = scene.upload(query, &[("orders.csv", ORDERS.into())]).await;
    let upload = scene.taken(answer).await.remove(0);
    assert_eq!((upload.counts.published, upload.counts.copies), (5, 9));
    assert_eq!(
        taken(&scene, "german").await,
        [(2, of(&[("country", "DE"), ("a, b", "x")])), (5, of(&[("country", "DE")]))]
    );
    assert_eq!(
        taken(&scene, "others").await,
        [(3, of(&[("country", "FR")])), (6, of(&[("country", "Côte d'Ivoire"), ("a, b", "z")])),]
    );
    let all = taken(&scene, "rows").await;
    assert_eq!(all.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert_eq!(all[2].1, of(&[("a, b", "y")]));
    // Without them the same file has none, and no filter takes its rows.
    scene.published("orders.csv", ORDERS.into()).await;
    assert!(taken(&scene, "german").await.is_empty());
    assert!(taken(&scene, "rows").await.iter().all(|(_, attributes)| attributes.is_empty()));
}

async fn a_choice_that_cannot_be_is_refused(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let many: Vec<String> = (0..17).map(|n| format!("c{n}")).collect();
    for (columns, says) in [
        ("", "cannot be empty"),
        ("id,,country", "cannot be empty"),
        ("id,id", "twice"),
        ("country,row", "`row`"),
        ("upload_id", "`upload_id`"),
        ("filename", "`filename`"),
        ("sheet", "`sheet`"),
        (&many.join(","), "limit is 16"),
        ("id,land", "`id`, `country`, `a, b`"),
    ] {
        let query = format!("?attributes={columns}");
        let refused = scene.upload(&query, &[("orders.csv", ORDERS.into())]).await;
        let refused = problem(refused).await;
        assert_eq!(refused.status, 422, "{columns}: {refused:?}");
        assert!(refused.detail.contains(says), "{columns}: {refused:?}");
    }
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
    let uploads: Page<Upload> = scene.get("/uploads").await;
    assert!(uploads.data.is_empty(), "{uploads:?}");
}

async fn a_value_that_is_too_long_rejects_its_row(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let file = format!("id,country\n1,{}\n2,{}\n", "ü".repeat(1_024), "ü".repeat(1_025));
    let answer = scene.upload("?wait=true&attributes=country", &[("a.csv", file.into())]).await;
    let upload = scene.taken(answer).await.remove(0);
    assert_eq!(upload.status, UploadStatus::Published);
    assert_eq!((upload.counts.published, upload.counts.rejected), (1, 1));
    let found: Page<Finding> = scene.get(&upload.links.rejects).await;
    assert_eq!((found.data[0].rejected, found.data[0].address.as_str()), (true, "B3"));
    assert!(found.data[0].detail.contains("1025 characters"), "{found:?}");
}

on_both!(
    queues_split_an_upload,
    a_choice_that_cannot_be_is_refused,
    a_value_that_is_too_long_rejects_its_row,
);
