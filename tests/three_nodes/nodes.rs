//! The three RabbitMQ nodes, which `tests/cluster` has started and will remove.

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

/// A queue as RabbitMQ tells of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Queue {
    pub(crate) leader: String,
    pub(crate) members: Vec<String>,
    pub(crate) online: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Connected {
    node: String,
}

#[derive(Debug)]
struct Node {
    /// As RabbitMQ calls it.
    name: String,
    home: PathBuf,
    /// `user:password@`, and its host and port.
    user: String,
    at: String,
    api: String,
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    http: reqwest::Client,
}

impl Nodes {
    /// Those whose directories stand in `ROWMILL_TEST_CLUSTER`.
    pub(crate) fn named() -> Self {
        // Whoever is first in the process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let homes = std::env::var("ROWMILL_TEST_CLUSTER").expect("run it by tests/cluster");
        let nodes: Vec<Node> = homes.split(':').map(node).collect();
        assert_eq!(nodes.len(), 3, "{homes}");
        Self { nodes, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// All of them as one URL.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<&str> = self.nodes.iter().map(|node| node.at.as_str()).collect();
        format!("amqp://{}{}/%2f", self.nodes[0].user, hosts.join(","))
    }

    /// Has `tests/rabbitmq` do something to the node of that name.
    pub(crate) fn run(&self, name: &str, command: &str) {
        let node = self.nodes.iter().find(|node| node.name == name).expect(name);
        script(command, &node.home);
    }

    /// A queue, as any node tells that answers.
    pub(crate) async fn queue(&self, name: &str) -> Queue {
        crate::until("a node that tells of the queue", async || {
            self.ask(&format!("queues/%2f/{name}")).await
        })
        .await
    }

    /// How many clients are connected to a node.
    pub(crate) async fn connections(&self, name: &str) -> usize {
        let all: Vec<Connected> =
            crate::until("the connections", async || self.ask("connections").await).await;
        all.iter().filter(|connected| connected.node == name).count()
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        for node in &self.nodes {
            let answer = self.http.get(format!("{}/{path}", node.api)).send().await;
            if let Ok(answer) = answer
                && answer.status().is_success()
                && let Ok(said) = answer.json().await
            {
                return Some(said);
            }
        }
        None
    }
}

fn node(home: &str) -> Node {
    let home = PathBuf::from(home);
    let name = std::fs::read_to_string(home.join("name")).unwrap().trim().to_owned();
    let url = script("url", &home);
    let place = url.strip_prefix("amqp://").and_then(|url| url.split('/').next()).unwrap();
    let (user, at) = place.split_once('@').unwrap();
    let (host, port) = at.split_once(':').unwrap();
    // Its HTTP API is on the port after.
    let api = format!("http://{user}@{host}:{}/api", port.parse::<u16>().unwrap() + 1);
    Node { name, home, user: format!("{user}@"), at: at.to_owned(), api }
}

fn script(command: &str, home: &PathBuf) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rabbitmq");
    let output = Command::new(path).arg(command).arg(home).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/rabbitmq {command}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
