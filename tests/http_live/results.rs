//! One result in its forms: JSON, the output as text, the output as a page.

use reqwest::Response;
use serde_json::{Value, json};

use crate::scene::{Scene, problem};
use crate::support::TestDatabase;

/// Publishes one message and ends it; answers where its result is.
async fn ended(scene: &Scene, verdict: Value) -> String {
    let mut socket = scene.socket("?credit=1").await;
    scene.publish(1).await;
    let id = socket.message().await["id"].clone();
    let mut frame = json!({"id": id});
    frame.as_object_mut().unwrap().extend(verdict.as_object().unwrap().clone());
    socket.settled(frame).await;
    format!("/results/{}", id.as_str().unwrap())
}

async fn acked(scene: &Scene, output: Value) -> String {
    ended(scene, json!({"type": "ack", "output": output})).await
}

async fn ask(scene: &Scene, path: &str, accept: &str) -> Response {
    let answer = scene.client.get(scene.url(path)).header("accept", accept).send().await.unwrap();
    assert_eq!(answer.headers()["vary"], "accept");
    answer
}

async fn text(scene: &Scene, path: &str) -> String {
    let answer = ask(scene, path, "text/plain").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    answer.text().await.unwrap()
}

async fn page(scene: &Scene, path: &str) -> String {
    // As a browser asks.
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = ask(scene, path, accept).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(
        answer.headers()["content-security-policy"],
        "default-src 'none'; style-src 'unsafe-inline'"
    );
    let page = answer.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
    page
}

async fn a_result_comes_in_the_form_that_is_asked_for(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let output =
        json!({"exit_code": 0, "stdout": "\u{1b}[32mok\u{1b}[0m <b>\n", "stderr": "warn\n"});
    let path = acked(&scene, output.clone()).await;
    for accept in ["*/*", "application/json", "text/html;q=0.5, application/json"] {
        let answer = ask(&scene, &path, accept).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        let found: Value = answer.json().await.unwrap();
        assert_eq!((&found["status"], &found["output"]), (&json!("done"), &output));
    }
    assert_eq!(text(&scene, &path).await, "\u{1b}[32mok\u{1b}[0m <b>\nwarn\n");
    let page = page(&scene, &path).await;
    assert!(
        page.contains("<span style='color:var(--green,#0a0)'>ok</span> &lt;b&gt;\nwarn\n"),
        "{page}"
    );
    assert!(page.contains(path.strip_prefix("/results/").unwrap()));

    for (output, expected) in [
        (json!("a\n\u{0}b"), "a\n\u{0}b"),
        (json!({"total": 2}), r#"{"total":2}"#),
        (json!([1, null]), "[1,null]"),
        (Value::Null, ""),
    ] {
        let path = acked(&scene, output).await;
        assert_eq!(text(&scene, &path).await, expected);
    }
    let died = ended(&scene, json!({"type": "reject", "reason": "no such <customer>"})).await;
    assert_eq!(text(&scene, &died).await, "no such <customer>");
    let refused = ask(&scene, &died, "image/png").await;
    assert_eq!(problem(refused).await.status, 406);
}

async fn what_has_not_ended_has_no_output(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut socket = scene.socket("").await;
    scene.publish(1).await;
    let message = socket.message().await;
    let path = format!("/results/{}", message["id"].as_str().unwrap());
    for accept in ["text/plain", "text/html"] {
        assert_eq!(problem(ask(&scene, &path, accept).await).await.status, 409);
    }
    let found: Value = ask(&scene, &path, "application/json").await.json().await.unwrap();
    assert_eq!(found["status"], "in_flight");
    for accept in ["text/plain", "text/html", "*/*"] {
        assert_eq!(problem(ask(&scene, "/results/none", accept).await).await.status, 404);
    }
}

async fn hostile_outputs_are_harmless(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let hostile = [
        "</pre></body><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\u{1b}]8;;javascript:alert(1)\u{1b}\\click\u{1b}]8;;\u{1b}\\",
        "\u{1b}]8;;https://evil.example\u{7}",
        "\u{1b}[38;5m\u{1b}[38;2;300;0;0m\u{1b}[999999999999m\u{1b}[;;;m\u{1b}[",
        "\u{1b}[31' onmouseover='alert(1)m",
        "\u{1b}P+q\u{1b}\\\u{1b}_G\u{1b}\\\u{1b}^x",
        "\0\u{1}\u{8}\u{7f}\u{9b}31m\u{feff}\u{202e}",
        "\u{1b}",
    ]
    .join("\n");
    let path = acked(&scene, json!(hostile)).await;
    assert_eq!(text(&scene, &path).await, hostile);
    let page = page(&scene, &path).await;
    let inner = page.split_once("<pre").unwrap().1.rsplit_once("</pre>").unwrap().0;
    for markup in ["<script", "<img", "<a", "href", "onmouseover='", "\u{1b}", "\0", "</pre"] {
        assert!(!inner.contains(markup), "{markup:?} in {inner}");
    }
    assert!(inner.contains("click") && inner.contains("&lt;script&gt;"), "{inner}");
}

async fn a_large_output_is_whole_as_text_and_bounded_as_a_page(database: TestDatabase) {
    let scene = Scene::new(database).await;
    // Within what a frame may carry.
    let output = "\u{1b}[1m<\u{1b}[0m".repeat(50_000);
    let path = acked(&scene, json!(output)).await;
    assert_eq!(text(&scene, &path).await.len(), output.len());
    let bounded = page(&scene, &path).await;
    assert_eq!(bounded.matches("&lt;").count(), 50_000);
    assert!(bounded.len() < 2 << 20, "{} bytes", bounded.len());

    // Megabytes come by a settle.
    scene.publish(1).await;
    let received: Value = scene.get("/queues/rows/messages").await;
    let message = &received["data"][0];
    let ack = json!({"receipt": message["receipt"], "output": "y".repeat(5 << 20)});
    let url = scene.url("/queues/rows/settle");
    let settled = scene.client.post(url).json(&json!({"acks": [ack]})).send().await.unwrap();
    assert_eq!(settled.status(), 200);
    let path = format!("/results/{}", message["id"].as_str().unwrap());
    assert_eq!(text(&scene, &path).await.len(), 5 << 20);
    let page = page(&scene, &path).await;
    assert!(page.contains(&format!("{} more bytes are not shown", 4 << 20)));
    assert!(page.len() < (1 << 20) + 2_000, "{} bytes", page.len());
}

on_both!(
    a_result_comes_in_the_form_that_is_asked_for,
    what_has_not_ended_has_no_output,
    hostile_outputs_are_harmless,
    a_large_output_is_whole_as_text_and_bounded_as_a_page,
);
