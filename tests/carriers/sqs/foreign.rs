//! A program with boto3, which knows nothing of rowmill, at the other end of a queue.

use std::collections::BTreeMap;
use std::process::Stdio;

use rowmill::broker::carrier::{Carrier, CarrierQueue, Parcel};
use serde_json::{Value, json};
use tokio::process::Command;

use super::Sqs;
use crate::scene::{SHORT, Scene, ack, assert_nothing, parcel, parcels, send, take, until_depth};

/// Runs `foreign.py`, and answers what it printed, a value a line.
pub(super) async fn boto3(scene: &Scene<Sqs>, arguments: &[&str]) -> Vec<Value> {
    let root = env!("CARGO_MANIFEST_DIR");
    let made = Command::new(format!("{root}/tests/python")).output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let programs = String::from_utf8(made.stdout).unwrap();
    let output = Command::new(format!("{}/python", programs.trim()))
        .arg(format!("{root}/tests/carriers/sqs/foreign.py"))
        .arg(format!("http://{}", scene.engine.address))
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "foreign")
        .env("AWS_SECRET_ACCESS_KEY", "foreign")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_reads_and_deletes_what_was_sent() {
    let scene = Scene::<Sqs>::shared().await;
    let queue = scene.queue("to-boto3").await;
    let attributes = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let mut sent = parcels(23);
    let columns: Vec<_> = (10..24).map(|n| (format!("column_{n}"), n.to_string())).collect();
    let many = columns.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let many: Vec<_> = many.chain([("row", "7"), ("upload_id", "u-1"), ("empty", "")]).collect();
    sent.push(Parcel { attributes: attributes(&many), ..parcel(23) });
    send(&*scene.carrier, &queue, sent.clone()).await;

    let name = format!("{}{queue}", scene.engine.corner);
    let mut seen = boto3(&scene, &["consume", &name, "24"]).await;
    seen.sort_by_key(|message| message["body"]["number"].as_u64());
    assert_eq!(seen.len(), 24);
    for (n, message) in seen[..23].iter().enumerate() {
        assert_eq!(message["body"], json!({"number": n, "data": format!("item {n}")}));
        let wanted = json!({
            "rowmill-id": format!("parcel-{n}"), "row": n.to_string(), "filename": "orders.xlsx",
        });
        assert_eq!(message["attributes"], wanted);
    }
    // Of more than SQS takes, what an upload sets is found where it always is.
    let crowded = &seen[23]["attributes"];
    assert_eq!(crowded.as_object().unwrap().len(), 10);
    let known = [&crowded["rowmill-id"], &crowded["row"], &crowded["upload_id"]];
    assert_eq!(known, ["parcel-23", "7", "u-1"]);
    let rest = crowded["rowmill-attributes"].as_str().unwrap();
    let rest: BTreeMap<String, String> = serde_json::from_str(rest).unwrap();
    let outside =
        crowded.as_object().unwrap().iter().filter(|(name, _)| !name.starts_with("rowmill-"));
    let outside = outside.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    let all: BTreeMap<_, _> = outside.chain(rest).collect();
    assert_eq!(all, sent[23].attributes);

    until_depth(&*scene.carrier, &queue, |depth| (depth.waiting, depth.in_hands) == (0, Some(0)))
        .await;
    assert_nothing(&*scene.carrier, &queue, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_publishes_what_is_taken() {
    let scene = Scene::<Sqs>::shared().await;
    let (queue, dead) = scene.queue_with_dead("from-boto3").await;
    let name = format!("{}{queue}", scene.engine.corner);
    boto3(&scene, &["publish", &name, "23"]).await;
    let mut taken = take(&*scene.carrier, &queue, 23).await;
    let number = |data: &[u8]| serde_json::from_slice::<Value>(data).unwrap()["number"].as_u64();
    taken.sort_by_key(|taken| number(&taken.data));
    for (n, taken) in taken.iter().enumerate() {
        assert_eq!((taken.id.as_ref(), taken.attempt), (None, 1));
        let wanted = json!({"number": n, "text": "Grüße"});
        assert_eq!(serde_json::from_slice::<Value>(&taken.data).unwrap(), wanted);
        assert_eq!(taken.attributes["row"], n.to_string());
        assert_eq!(taken.attributes["kind"], "foreign");
        assert_eq!(taken.attributes.len(), 3, "{:?}", taken.attributes);
    }
    assert_eq!(taken[1].attributes["bytes"], "AP8B");
    // A foreign one can die like any other, and is read by its own kind.
    let last = taken.pop().unwrap();
    let died = scene.carrier.dead(&queue, vec![(last.handle, "no such customer".into())]).await;
    assert_eq!(died.unwrap(), [Ok(())]);
    ack(&*scene.carrier, &queue, &taken).await;
    assert_nothing(&*scene.carrier, &queue, SHORT).await;
    let name = format!("{}{dead}", scene.engine.corner);
    let seen = boto3(&scene, &["consume", &name, "1"]).await;
    assert_eq!(seen[0]["body"]["number"], 22);
    assert_eq!(seen[0]["attributes"]["rowmill-reason"], "no such customer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_what_it_was_told_to_be() {
    let scene = Scene::<Sqs>::shared().await;
    let (carrier, dead) = (&*scene.carrier, scene.name("told.dead"));
    let plan = CarrierQueue {
        dead: Some(dead.clone()),
        deliveries: Some(6),
        ack_deadline: SHORT.mul_f32(1.5),
        retention: Some(600 * SHORT),
        ..scene.plan("told")
    };
    // Its dead queue is there with it, whoever is made first.
    carrier.ensure(&plan).await.unwrap();
    carrier.ensure(&CarrierQueue { name: dead.clone(), ..scene.plan("") }).await.unwrap();
    let name = format!("{}{}", scene.engine.corner, plan.name);
    let described = boto3(&scene, &["describe", &name]).await.remove(0);
    let is = |described: &Value, name: &str| described["attributes"][name].clone();
    assert_eq!(is(&described, "VisibilityTimeout"), "2", "whole seconds, none shorter");
    assert_eq!(is(&described, "MessageRetentionPeriod"), "600");
    assert_eq!(is(&described, "MaximumMessageSize"), "1048576");
    let policy: Value =
        serde_json::from_str(is(&described, "RedrivePolicy").as_str().unwrap()).unwrap();
    assert_eq!(policy["maxReceiveCount"], 6);
    let arn = policy["deadLetterTargetArn"].as_str().unwrap();
    let engine_dead = format!("{}{}", scene.engine.corner, dead.as_str().replace('.', "_-_"));
    assert!(arn.ends_with(&format!(":{engine_dead}")), "{arn}");
    let plain = CarrierQueue { dead: None, deliveries: None, retention: None, ..plan.clone() };
    carrier.ensure(&plain).await.unwrap();
    let described = boto3(&scene, &["describe", &name]).await.remove(0);
    assert_eq!(is(&described, "RedrivePolicy"), Value::Null);
    assert_eq!(is(&described, "MessageRetentionPeriod"), "1209600");
    assert_eq!(described["tags"]["rowmill-dead"], "");
    // More than SQS counts to is no limit of its own; who belongs to whom is said all the same.
    let patient = CarrierQueue { deliveries: Some(1_001), ..plan };
    carrier.ensure(&patient).await.unwrap();
    let described = boto3(&scene, &["describe", &name]).await.remove(0);
    assert_eq!(is(&described, "RedrivePolicy"), Value::Null);
    assert_eq!(described["tags"]["rowmill-dead"], engine_dead);
}
