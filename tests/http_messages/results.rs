//! Results: by page, by filter, by id.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::Api;
use crate::support::TestDatabase;

/// All pages of a list.
async fn pages(api: &Api, path: &str) -> Vec<Value> {
    let mut all = vec![];
    let mut after = String::new();
    loop {
        let (status, page) = api.get(&format!("{path}{after}")).await;
        assert_eq!(status, 200, "{page}");
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2, "a page holds more than was asked for");
        all.extend(data.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

async fn results_come_in_pages(database: TestDatabase) {
    let api = Api::on(database).await;
    let ids = api.publish(7).await;
    // In leases of three: an outcome covers several messages, and pages cut through it.
    let mut received = vec![];
    while received.len() < 7 {
        received.extend(api.receive_all("rows", 3.min(7 - received.len())).await);
    }
    for three in received.chunks(3) {
        let (mut acks, mut rejects) = (vec![], vec![]);
        for delivery in three {
            let n = delivery["data"]["n"].as_u64().unwrap();
            if n == 4 {
                rejects.push(json!({"receipt": delivery["receipt"], "reason": "four"}));
            } else {
                acks.push(json!({"receipt": delivery["receipt"], "output": n * 10}));
            }
        }
        api.settle(json!({"acks": acks, "rejects": rejects})).await;
    }
    let all = pages(&api, "/results?queue=rows&limit=2").await;
    let found: BTreeSet<_> = all.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(found, ids.iter().map(String::as_str).collect());
    assert_eq!(all.len(), 7, "one came twice");
    let done = pages(&api, "/results?status=done&limit=2").await;
    let outputs: BTreeSet<u64> = done.iter().map(|one| one["output"].as_u64().unwrap()).collect();
    assert_eq!(outputs, [10, 20, 30, 50, 60, 70].into());
    let dead = pages(&api, "/results?status=dead&queue=rows&limit=2").await;
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0]["id"], &dead[0]["error"]), (&json!(ids[3]), &json!("four")));
    assert_eq!(dead[0]["upload_id"], Value::Null);
    assert!(pages(&api, "/results?status=expired&limit=2").await.is_empty());
    assert!(pages(&api, "/results?queue=rows-dead&limit=2").await.is_empty());
}

async fn a_message_is_found_wherever_it_is(database: TestDatabase) {
    let api = Api::on(database).await;
    let ids = api.publish(1).await;
    let path = format!("/results/{}", ids[0]);
    let (status, found) = api.get(&path).await;
    assert_eq!((status, &found["status"]), (200, &json!("waiting")), "{found}");
    assert_eq!((&found["id"], &found["finished_at"]), (&json!(ids[0]), &Value::Null));
    let received = api.receive_all("rows", 1).await;
    assert_eq!(api.get(&path).await.1["status"], "in_flight");
    api.settle(json!({"acks": [{"receipt": received[0]["receipt"]}]})).await;
    let (_, found) = api.get(&path).await;
    assert_eq!((&found["status"], &found["output"]), (&json!("done"), &Value::Null));
}

async fn what_is_not_there_is_told(database: TestDatabase) {
    let api = Api::on(database).await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    for (path, expected) in [
        ("/results/one".to_owned(), 404),
        (format!("/results/{nobody}"), 404),
        ("/results/%FF".to_owned(), 422),
        ("/results?queue=nowhere".to_owned(), 404),
        ("/results?queue=no%20where".to_owned(), 422),
        (format!("/results?upload={nobody}"), 404),
        ("/results?upload=one".to_owned(), 422),
        ("/results?status=waiting".to_owned(), 422),
        ("/results?status=lost".to_owned(), 422),
        ("/results?after=2".to_owned(), 422),
        (format!("/results?after={nobody}"), 422),
        ("/results?limit=0".to_owned(), 422),
        ("/results?limit=1001".to_owned(), 422),
        ("/results?page=2".to_owned(), 422),
    ] {
        let (status, problem) = api.get(&path).await;
        assert_eq!(status, expected, "{path}: {problem}");
    }
}

on_both!(results_come_in_pages, a_message_is_found_wherever_it_is, what_is_not_there_is_told);
