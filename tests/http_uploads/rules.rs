//! Rules of a topic: files are checked by them, and mapped; so are messages.

use reqwest::StatusCode;
use rowmill::api::{
    Data, Delivery, Finding, Page, Preview, PreviewAnswer, Problem, Upload, UploadStatus,
};
use rowmill::http::HttpLimits;
use rowmill::workbook::ReadLimits;
use rust_xlsxwriter::Workbook;
use serde_json::{Value, json};

use crate::scene::{Scene, problem};
use crate::support::TestDatabase;

async fn rule(scene: &Scene, rules: Value) -> (u16, Value) {
    let url = scene.url("/topics/rows");
    let answer = scene.client.put(url).json(&json!({"rules": rules})).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn rules() -> Value {
    json!({
        "columns": [
            {"column": "Order No", "name": "id", "required": true, "type": "integer"},
            {"column": "Sum", "name": "amount", "required": false, "type": "number"},
            {"column": "Country", "name": "country", "required": false},
        ],
        "schema": {
            "properties": {"amount": {"minimum": 0}, "country": {"pattern": "^[A-Z]{2}$"}},
            "required": ["amount"],
        },
        "others": "drop",
    })
}

/// Three rows are good; row 3 has three faults, row 5 has one.
fn orders() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Orders").unwrap();
    for (row, cells) in [
        ["Order No", "Sum", "Country", "Remark"],
        ["1", "2.50", "DE", "a"],
        ["007", "1,5", "de", "b"],
        ["3", "0", "", ""],
        ["4", "", "FR", "c"],
        ["5", "7", "FR", ""],
    ]
    .iter()
    .enumerate()
    {
        for (column, text) in (0..).zip(cells).filter(|(_, text)| !text.is_empty()) {
            sheet.write_string(u32::try_from(row).unwrap(), column, *text).unwrap();
        }
    }
    book.save_to_buffer().unwrap()
}

async fn data(scene: &Scene) -> Vec<String> {
    let all: Data<Delivery> = scene.get("/queues/rows/messages?limit=100").await;
    all.data.iter().map(|one| one.data.get().to_owned()).collect()
}

async fn rows_that_break_the_rules_are_rejected(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let (status, topic) = rule(&scene, rules()).await;
    assert_eq!((status, &topic["rules"]), (200, &rules()));
    let upload = scene.published("orders.xlsx", orders()).await;
    let counts = &upload.counts;
    assert_eq!((counts.read, counts.published, counts.rejected), (5, 3, 2), "{counts:?}");
    assert_eq!(
        data(&scene).await,
        [
            r#"{"id":1,"amount":2.50,"country":"DE"}"#,
            r#"{"id":3,"amount":0,"country":null}"#,
            r#"{"id":5,"amount":7,"country":"FR"}"#,
        ]
    );
    let found: Page<Finding> = scene.get(&upload.links.rejects).await;
    let told: Vec<_> = found.data.iter().map(|one| (one.rejected, one.address.as_str())).collect();
    assert_eq!(
        told,
        [(true, "Orders!A3"), (true, "Orders!B3"), (true, "Orders!C3"), (true, "Orders!B5")]
    );
    assert!(found.data[0].detail.contains("`007`"), "{found:?}");
    assert!(found.data[2].detail.contains("`country`"), "{found:?}");
    // They are listed one by one, also where a page ends within a row.
    let (again, sizes) = scene.pages::<Finding>(&upload.links.rejects, 2).await;
    assert_eq!((again, sizes), (found.data, vec![2, 2]));
}

/// The first row's problems are recorded, the second's are past the limit and found once more.
async fn the_spreadsheet_says_what_is_wrong(database: TestDatabase) {
    let read = ReadLimits { findings: 3, ..ReadLimits::default() };
    let scene = Scene::with(database, HttpLimits::default(), read).await;
    rule(&scene, rules()).await;
    let upload = scene.published("orders.xlsx", orders()).await;
    assert_eq!(upload.counts.rejected, 2);
    let found: Page<Finding> = scene.get(&upload.links.rejects).await;
    assert_eq!(found.data.len(), 3);
    let url = scene.url(&format!("{}/results.csv?wait=30", upload.links.this));
    let answer = scene.client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let text = answer.text().await.unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    for said in ["rejected", "Orders!A3: ", "Orders!B3: ", "Orders!C3: ", "007,"] {
        assert!(lines[2].contains(said), "{text}");
    }
    for said in ["rejected", "Orders!B5: `amount`: "] {
        assert!(lines[4].contains(said), "{text}");
    }
    assert!(!lines[1].contains("rejected") && lines[1].starts_with("2,1,2.50,DE,a,"), "{text}");
}

async fn one_row_is_enough_to_publish_nothing(database: TestDatabase) {
    let scene = Scene::new(database).await;
    rule(&scene, rules()).await;
    for query in ["?on_invalid=abort", "?on_invalid=abort&stream=true"] {
        let upload = scene.upload(query, &[("orders.xlsx", orders())]).await;
        let upload = scene.taken(upload).await.remove(0);
        let now = async || scene.get::<Upload>(&upload.links.this).await;
        scene.until("it to fail", async || now().await.status == UploadStatus::Failed).await;
        let problem = now().await.problem.unwrap();
        assert_eq!((problem.kind.as_str(), problem.status), ("/problems/invalid-rows", 422));
        assert!(problem.detail.starts_with("2 rows are not valid: Orders!A3: "), "{problem:?}");
        let told: Vec<_> = problem.findings.iter().map(|one| one.address.as_str()).collect();
        assert_eq!(told, ["Orders!A3", "Orders!B3", "Orders!C3", "Orders!B5"]);
        assert!(data(&scene).await.is_empty());
    }
    let waited = scene.upload("?on_invalid=abort&wait=true", &[("orders.xlsx", orders())]).await;
    assert_eq!(problem(waited).await.kind, "/problems/invalid-rows");
    // A file without such a row is published whole.
    let good = "Order No,Sum\n1,2\n2,3\n";
    let query = "?on_invalid=abort&wait=true";
    let upload = scene.taken(scene.upload(query, &[("a.csv", good.into())]).await).await.remove(0);
    assert_eq!((upload.status, upload.counts.published), (UploadStatus::Published, 2));
}

async fn a_file_without_a_required_column_is_refused(database: TestDatabase) {
    let scene = Scene::new(database).await;
    rule(&scene, rules()).await;
    for query in ["", "?dry_run=true"] {
        let answer = scene.upload(query, &[("a.csv", b"order no,Sum\n1,2\n".to_vec())]).await;
        let refused = problem(answer).await;
        assert_eq!((refused.status, refused.kind.as_str()), (422, "/problems/bad-header"));
        assert!(refused.detail.contains("`Order No`"), "{refused:?}");
    }
    let strict = json!({"columns": [{"column": "a"}], "others": "refuse"});
    rule(&scene, strict).await;
    let refused = problem(scene.upload("", &[("a.csv", b"a,b\n1,2\n".to_vec())]).await).await;
    assert!(refused.status == 422 && refused.detail.contains("`b`"), "{refused:?}");
    let uploads: Page<Upload> = scene.get("/uploads").await;
    assert!(uploads.data.is_empty(), "{uploads:?}");
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn a_dry_run_tells_what_would_be_rejected(database: TestDatabase) {
    let scene = Scene::new(database).await;
    rule(&scene, rules()).await;
    // Also where one row would be enough, all are told of.
    for query in ["?dry_run=true", "?dry_run=true&on_invalid=abort"] {
        let answer = scene.upload(query, &[("orders.xlsx", orders())]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answers: Data<PreviewAnswer> = answer.json().await.unwrap();
        let Some(PreviewAnswer::Seen(seen)) = answers.data.into_iter().next() else { panic!() };
        let Preview { counts, findings, sheets, .. } = *seen;
        assert_eq!((counts.rows, counts.rejected), (3, 2));
        let addresses: Vec<_> = findings.iter().map(|one| one.address.as_str()).collect();
        assert_eq!(addresses, ["Orders!A3", "Orders!B3", "Orders!C3", "Orders!B5"]);
        // Columns are looked at as they are in the file, rows are shown as they would be sent.
        let names: Vec<_> = sheets[0].columns.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["Order No", "Sum", "Country", "Remark"]);
        assert_eq!((sheets[0].rows, sheets[0].columns[3].filled), (3, 3));
        let first = sheets[0].first[0].data.get();
        assert_eq!(first, r#"{"id":1,"amount":2.50,"country":"DE"}"#);
    }
}

async fn rules_that_cannot_be_are_refused(database: TestDatabase) {
    let scene = Scene::new(database).await;
    for (rules, says) in [
        (json!({"schema": {"properties": {"a": {"type": "strin"}}}}), "`/properties/a/type`"),
        (json!({"schema": {"properties": {"a": {"$ref": "#"}}}}), "`/properties/a/$ref`"),
        (json!({"schema": {"$ref": "file:///etc/passwd"}}), "`/$ref`"),
        (json!({"schema": {"$ref": "http://127.0.0.1:1/"}}), "`/$ref`"),
        (json!({"schema": []}), "map"),
        (json!({"columns": [{"column": "a"}, {"column": "a"}]}), "`columns[1]`"),
        (json!({"columns": [{"column": "a", "type": "float"}]}), "float"),
        (json!({"columns": [["a"]]}), "object"),
        (json!({"column": []}), "column"),
        (json!({"schema": {"description": "x".repeat(65_536)}}), "65536 bytes"),
    ] {
        let (status, problem) = rule(&scene, rules.clone()).await;
        let problem: Problem = serde_json::from_value(problem).unwrap();
        assert_eq!(status, 422, "{rules}: {problem:?}");
        assert!(problem.detail.contains(says), "{rules}: {problem:?}");
        let made = json!({"id": "other", "rules": rules});
        let made = scene.client.post(scene.url("/topics")).json(&made).send().await.unwrap();
        assert_eq!(made.status().as_u16(), 422);
    }
    let missing = scene.client.put(scene.url("/topics/none")).json(&json!({})).send().await;
    assert_eq!(missing.unwrap().status().as_u16(), 404);
    let topic: Value = scene.get("/topics/rows").await;
    assert_eq!(topic.get("rules"), None);
}

async fn a_topic_has_its_rules_until_it_is_given_others(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let made = json!({"id": "orders", "rules": rules()});
    let answer = scene.client.post(scene.url("/topics")).json(&made).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let topic: Value = scene.get("/topics/orders").await;
    assert_eq!(topic["rules"], rules());
    let all: Data<Value> = scene.get("/topics").await;
    assert!(all.data.iter().all(|topic| topic.get("rules").is_none()), "{all:?}");
    let url = scene.url("/topics/orders");
    let other = json!({"rules": {"others": "refuse"}});
    let changed: Value =
        scene.client.put(&url).json(&other).send().await.unwrap().json().await.unwrap();
    assert_eq!(changed["rules"], other["rules"]);
    let none: Value =
        scene.client.put(&url).json(&json!({})).send().await.unwrap().json().await.unwrap();
    assert_eq!(none.get("rules"), None);
    scene.client.put(&url).json(&made["rules"]).send().await.unwrap();
    scene.client.delete(&url).send().await.unwrap();
    // A new topic of the name has none of the old one's.
    scene.client.post(scene.url("/topics")).json(&json!({"id": "orders"})).send().await.unwrap();
    let topic: Value = scene.get("/topics/orders").await;
    assert_eq!(topic.get("rules"), None);
}

async fn messages_are_checked_too(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let publish = async |body: Value| {
        let url = scene.url("/topics/rows/messages");
        let answer = scene.client.post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(publish(json!({"data": {"amount": "x"}})).await.0, 201);
    rule(&scene, json!({"schema": {"properties": {"amount": {"type": "number"}}}})).await;
    let (status, problem) = publish(json!({"data": {"amount": "x"}})).await;
    assert_eq!((status, &problem["type"]), (422, &json!("/problems/invalid-message")));
    assert!(problem["detail"].as_str().unwrap().starts_with("`amount`: "), "{problem}");
    // Several are published in one step, or none.
    let several = json!({"messages": [{"data": {"amount": 1}}, {"data": {"amount": "y"}}]});
    let (status, problem) = publish(several).await;
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().starts_with("message 1: `amount`: "), "{problem}");
    assert_eq!(publish(json!({"data": {"amount": 7}})).await.0, 201);
    assert_eq!(data(&scene).await, [r#"{"amount":"x"}"#, r#"{"amount":7}"#]);
    rule(&scene, json!(null)).await;
    assert_eq!(publish(json!({"data": {"amount": "x"}})).await.0, 201);
}

on_both!(
    rows_that_break_the_rules_are_rejected,
    the_spreadsheet_says_what_is_wrong,
    one_row_is_enough_to_publish_nothing,
    a_file_without_a_required_column_is_refused,
    a_dry_run_tells_what_would_be_rejected,
    rules_that_cannot_be_are_refused,
    a_topic_has_its_rules_until_it_is_given_others,
    messages_are_checked_too,
);
