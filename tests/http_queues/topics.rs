//! Topics: made, listed, deleted; and what becomes of what refers to one.

use reqwest::multipart::{Form, Part};
use rowmill::api::QueueTerms;
use serde_json::json;

use crate::api::{Api, answer, message, refused};
use crate::support::TestDatabase;

async fn topics_are_made_listed_and_deleted(database: TestDatabase) {
    let api = Api::on(&database).await;
    let (status, made) = api.post("/topics", json!({"id": "b"})).await;
    assert_eq!((status, &made["id"]), (201, &json!("b")));
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(api.get("/topics/b").await, (200, made));
    let (status, problem) = api.post("/topics", json!({"id": "b"})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/conflict")));
    for id in ["c", "B", "a"] {
        api.client.create_topic(id).await.unwrap();
    }
    let names = async |offset, limit| -> Vec<String> {
        let topics = api.client.topics(offset, limit).await.unwrap();
        topics.into_iter().map(|topic| topic.id).collect()
    };
    // By their bytes: capitals first. `rows` is there from the start.
    assert_eq!(names(0, 100).await, ["B", "a", "b", "c", "rows"]);
    assert_eq!(names(1, 2).await, ["a", "b"]);
    assert!(names(9, 2).await.is_empty());

    assert_eq!(api.delete("/topics/b").await.0, 204);
    assert_eq!(api.delete("/topics/b").await.0, 404);
    assert_eq!(api.get("/topics/b").await.0, 404);
    assert_eq!(names(0, 100).await, ["B", "a", "c", "rows"]);
    // Its name is free.
    assert_eq!(api.post("/topics", json!({"id": "b"})).await.0, 201);
}

async fn a_deleted_topic_leaves_its_queues(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    api.publish_one("orders", 1).await;
    api.client.delete_topic("orders").await.unwrap();
    assert_eq!(refused(api.client.publish("orders", message(2, &[]), None).await), 404);
    let queue = api.client.queue("orders").await.unwrap();
    assert_eq!(queue.topic_id, None);
    assert_eq!(api.receive_one("orders").await.data.get(), r#"{"n":1}"#);
    // A new topic of the name is another one: the queue does not take from it.
    api.client.create_topic("orders").await.unwrap();
    assert!(api.publish("orders", 3, &[]).await.is_empty());
    let terms = QueueTerms { topic_id: Some("orders".into()), ..QueueTerms::default() };
    api.client.replace_queue("orders", &terms).await.unwrap();
    assert_eq!(api.publish("orders", 4, &[]).await.len(), 1);
}

async fn an_upload_keeps_the_name_of_its_topic(database: TestDatabase) {
    let api = Api::on(&database).await;
    api.provide("orders", QueueTerms::default()).await;
    let form = Form::new().part("files", Part::bytes(&b"a\n1\n2\n"[..]).file_name("o.csv"));
    let url = format!("{}/file/upload?topic=orders&wait=true", api.url);
    let (status, taken) = answer(api.http.post(url).multipart(form)).await;
    assert!((200..300).contains(&status), "{taken}");
    api.client.delete_topic("orders").await.unwrap();
    let uploads = api.client.uploads(None, 10).await.unwrap();
    assert_eq!(uploads.data[0].topic, "orders");
    let form = Form::new().part("files", Part::bytes(&b"a\n1\n"[..]).file_name("o.csv"));
    let url = format!("{}/file/upload?topic=orders", api.url);
    assert_eq!(answer(api.http.post(url).multipart(form)).await.0, 404);
}

/// What one server changes, another notices: at once where it would publish, and otherwise when what
/// it knows is a second old.
async fn servers_notice_each_others_changes(database: TestDatabase) {
    let (here, there) = (Api::on(&database).await, Api::on(&database).await);
    here.provide("orders", QueueTerms::default()).await;
    there.publish_one("orders", 1).await;
    there.receive_one("orders").await;
    here.client.delete_topic("orders").await.unwrap();
    assert_eq!(refused(there.client.publish("orders", message(2, &[]), None).await), 404);
    here.client.delete_queue("orders").await.unwrap();
    there
        .until("the queue is gone", async || there.get("/queues/orders/messages").await.0 == 404)
        .await;
    here.provide("orders", QueueTerms::default()).await;
    there
        .until("the topic is back", async || {
            there.post("/topics/orders/messages", json!({"data": {"n": 3}})).await.0 == 201
        })
        .await;
    assert_eq!(here.receive_one("orders").await.data.get(), r#"{"n":3}"#);
}

on_both!(
    topics_are_made_listed_and_deleted,
    a_deleted_topic_leaves_its_queues,
    an_upload_keeps_the_name_of_its_topic,
    servers_notice_each_others_changes,
);
