//! `/metrics` of a server.

use serde_json::json;

use crate::scene::Scene;
use crate::support::TestDatabase;

/// Three rows, of which one has a cell that is too long.
fn orders() -> String {
    format!("id,note\n1,short\n2,{}\n3,short\n", "x".repeat(300))
}

async fn what_happened_is_counted(database: TestDatabase) {
    let settings = [("ROWMILL__READ__CELL_BYTES", "200"), ("ROWMILL__STORE__CONNECTIONS", "7")];
    let scene = Scene::with(database, &settings).await;
    let before = scene.scrape().await;
    let rows = |scrape: &crate::scrape::Scrape, state| {
        scrape.value("rowmill_ingest_rows_total", &[("state", state)]).unwrap()
    };
    assert_eq!(rows(&before, "read"), 0.0);
    assert_eq!(before.value("rowmill_uploads", &[("state", "published")]), Some(0.0));

    scene.upload("orders.csv", &orders()).await;
    scene.publish(4).await;
    assert_eq!(scene.get("/queues/a-secret/messages").await.0, 404);
    assert_eq!(scene.get("/a-secret/path").await.0, 404);
    let invented = reqwest::Method::from_bytes(b"INVENTED").unwrap();
    scene.client.request(invented, scene.server.url("/uploads")).send().await.unwrap();

    let text = scene.text().await;
    assert!(!text.contains("secret") && !text.contains("INVENTED"), "{text}");
    let after = crate::scrape::Scrape::parse(&text);
    assert_eq!(rows(&after, "read"), 2.0);
    assert_eq!(rows(&after, "published"), 2.0);
    assert_eq!(rows(&after, "rejected"), 1.0);
    assert_eq!(after.value("rowmill_uploads", &[("state", "published")]), Some(1.0));
    assert_eq!(after.value("rowmill_uploads", &[("state", "failed")]), Some(0.0));
    let requests = |method, route, status| {
        let labels = [("method", method), ("route", route), ("status", status)];
        after.value("rowmill_http_requests_total", &labels)
    };
    assert_eq!(requests("POST", "/file/upload", "2xx"), Some(1.0));
    assert_eq!(requests("POST", "/topics/{topic}/messages", "2xx"), Some(1.0));
    assert_eq!(requests("GET", "/queues/{queue}/messages", "4xx"), Some(1.0));
    assert_eq!(requests("GET", "none", "4xx"), Some(1.0));
    assert_eq!(requests("other", "/uploads", "4xx"), Some(1.0));
    assert_eq!(requests("GET", "/metrics", "2xx"), Some(1.0), "this one is under way");
    assert_eq!(after.value("rowmill_http_requests_in_flight", &[]), Some(1.0));
    let count = "rowmill_http_request_duration_seconds_count";
    let labels = [("method", "POST"), ("route", "/file/upload")];
    assert_eq!(after.value(count, &labels), Some(1.0));
    let sum = after.value("rowmill_http_request_duration_seconds_sum", &labels).unwrap();
    assert!(sum > 0.0 && sum < 60.0, "{sum}");

    assert!(after.value("rowmill_database_connections_max", &[]).unwrap() >= 5.0);
    let connections: f64 = after.all("rowmill_database_connections").map(|(_, n)| n).sum();
    assert!(connections >= 1.0);
    assert_eq!(after.value("rowmill_readers", &[("state", "idle")]), Some(4.0));
    assert_eq!(after.value("rowmill_queues", &[]), Some(2.0), "rows and rows-dead");
    for part in ["uploads", "transactions"] {
        assert_eq!(after.value("rowmill_gather_ok", &[("part", part)]), Some(1.0), "{part}");
    }
    let started = after.value("rowmill_process_start_time_seconds", &[]).unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(started <= now && started > now - 300.0, "{started}");
}

/// Needs the numbers of queues from the broker.
async fn messages_are_counted_by_queue_and_state(database: TestDatabase) {
    let scene = Scene::with(database, &[]).await;
    scene.upload("numbers.csv", "id\n1\n2\n3\n4\n5\n").await;
    scene.publish(2).await;
    let (status, answer) = scene.get("/queues/rows/messages?limit=3").await;
    assert_eq!((status, answer["data"].as_array().unwrap().len()), (200, 3));
    let scrape = scene.scrape().await;
    assert_eq!(scrape.value("rowmill_gather_ok", &[("part", "queues")]), Some(1.0));
    for (state, n) in
        [("ready", 4.0), ("in_flight", 3.0), ("delayed", 0.0), ("held", 0.0), ("dead", 0.0)]
    {
        let labels = [("queue", "rows"), ("state", state)];
        assert_eq!(scrape.value("rowmill_messages", &labels), Some(n), "{state}");
    }
    let age = scrape.value("rowmill_oldest_message_age_seconds", &[("queue", "rows")]).unwrap();
    assert!(age > 0.0 && age < 60.0, "{age}");
    let age = scrape.value("rowmill_oldest_message_age_seconds", &[("queue", "rows-dead")]);
    assert_eq!(age, Some(0.0));

    let reject = json!({"receipt": answer["data"][0]["receipt"], "reason": "no"});
    let settle = json!({"rejects": [reject]});
    let url = scene.server.url("/queues/rows/settle");
    let response = scene.client.post(url).json(&settle).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    let scrape = scene.scrape().await;
    let of_rows = |state| scrape.value("rowmill_messages", &[("queue", "rows"), ("state", state)]);
    assert_eq!((of_rows("in_flight"), of_rows("dead")), (Some(2.0), Some(1.0)));
    assert_eq!(
        scrape.value("rowmill_messages", &[("queue", "rows-dead"), ("state", "ready")]),
        Some(1.0)
    );
}

/// Of more queues than may be told of, the first are, and the number of all.
async fn queues_are_bounded(database: TestDatabase) {
    let scene = Scene::with(database, &[("ROWMILL__HTTP__OBSERVE__QUEUES", "1")]).await;
    let scrape = scene.scrape().await;
    let told: Vec<_> =
        scrape.all("rowmill_oldest_message_age_seconds").map(|(l, _)| l["queue"].clone()).collect();
    assert_eq!(told, ["rows"]);
    assert_eq!(scrape.value("rowmill_queues", &[]), Some(2.0));
}

#[tokio::test]
async fn scrapes_of_a_moment_share_one_look() {
    let database = TestDatabase::sqlite();
    let scene = Scene::with(database, &[("ROWMILL__HTTP__OBSERVE__FRESH", "1h")]).await;
    let published = || async {
        scene.scrape().await.value("rowmill_uploads", &[("state", "published")]).unwrap()
    };
    assert_eq!(published().await, 0.0);
    scene.upload("one.csv", "id\n1\n").await;
    assert_eq!(published().await, 0.0, "the look of before is good for an hour");
    let requests = scene.scrape().await;
    let labels = [("route", "/file/upload"), ("status", "2xx")];
    assert_eq!(requests.value("rowmill_http_requests_total", &labels), Some(1.0));
}

/// A database that is locked costs a scrape its time, and the rest of the numbers is told.
#[tokio::test]
async fn what_cannot_be_had_in_time_is_left_out() {
    let database = TestDatabase::postgres().await;
    let scene = Scene::with(database, &[("ROWMILL__HTTP__OBSERVE__WAIT", "2s")]).await;
    let store = scene.database.open(2).await;
    let mut locked = store.postgres_pool().unwrap().begin().await.unwrap();
    sqlx::query("lock table upload in access exclusive mode").execute(&mut *locked).await.unwrap();
    let scrape = scene.scrape().await;
    assert_eq!(scrape.value("rowmill_gather_ok", &[("part", "uploads")]), Some(0.0));
    assert_eq!(scrape.value("rowmill_gather_ok", &[("part", "transactions")]), Some(1.0));
    assert_eq!(scrape.all("rowmill_uploads").count(), 0);
    locked.rollback().await.unwrap();
    let scrape = scene.scrape().await;
    assert_eq!(scrape.value("rowmill_uploads", &[("state", "published")]), Some(0.0));
    store.close().await;
}

on_both!(what_happened_is_counted);

mod with_stats {
    use super::{messages_are_counted_by_queue_and_state, queues_are_bounded};
    use crate::support::TestDatabase;

    #[tokio::test]
    async fn sqlite() {
        messages_are_counted_by_queue_and_state(TestDatabase::sqlite()).await;
        queues_are_bounded(TestDatabase::sqlite()).await;
    }

    #[tokio::test]
    async fn postgres() {
        messages_are_counted_by_queue_and_state(TestDatabase::postgres().await).await;
        queues_are_bounded(TestDatabase::postgres().await).await;
    }
}
