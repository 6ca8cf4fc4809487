//! A bucket of a test's own, in the server that `tests/sqs` starts: it is an S3 server too.

#![allow(dead_code, reason = "each test that uses this file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsString;

use reqwest::{Client, Method};

/// A bucket. Everything in it goes with the server, which keeps nothing on a disk.
pub(crate) struct TestBucket {
    endpoint: String,
    name: String,
    client: Client,
}

impl TestBucket {
    /// Makes one. No test is skipped for want of a server: it fails.
    pub(crate) async fn new() -> Self {
        let url = std::env::var("ROWMILL_TEST_SQS_URL").expect(
            "this test needs the SQS server, which is the S3 of the tests: run it by `tests/run`, \
             or set ROWMILL_TEST_SQS_URL to what `tests/sqs start` prints",
        );
        let (_, endpoint) = url.split_once("endpoint=").unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let name = format!("mill-{}", uuid::Uuid::new_v4().simple());
        let bucket = Self { endpoint: endpoint.to_owned(), name, client };
        bucket.ask(Method::PUT, "", vec![]).await;
        bucket
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where its server is, such as `http://127.0.0.1:5000`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where it is, below a prefix.
    pub(crate) fn place(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.name)
    }

    /// The environment by which rowmill finds it.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        environment(&self.endpoint)
    }

    /// The names of what is in it.
    pub(crate) async fn objects(&self) -> Vec<String> {
        keys(&self.ask(Method::GET, "?list-type=2", vec![]).await)
    }

    /// The names of what was begun and never completed.
    pub(crate) async fn unfinished(&self) -> Vec<String> {
        keys(&self.ask(Method::GET, "?uploads", vec![]).await)
    }

    /// Puts an object there.
    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.ask(Method::PUT, &format!("/{key}"), bytes).await;
    }

    /// Begins one, as a process that dies does.
    pub(crate) async fn begin(&self, key: &str) {
        self.ask(Method::POST, &format!("/{key}?uploads"), vec![]).await;
    }

    async fn ask(&self, method: Method, what: &str, body: Vec<u8>) -> String {
        let url = format!("{}/{}{what}", self.endpoint, self.name);
        // Whose it is, is not looked at; that it is somebody's, is.
        let somebody = "AWS4-HMAC-SHA256 Credential=rowmill/20260101/us-east-1/s3/aws4_request";
        let request = self.client.request(method, url).header("Authorization", somebody);
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        text
    }
}

/// The environment by which rowmill finds an S3 server.
pub(crate) fn environment(endpoint: &str) -> Vec<(OsString, OsString)> {
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "rowmill"),
        ("AWS_SECRET_ACCESS_KEY", "rowmill"),
    ];
    variables.map(|(name, value)| (name.into(), value.into())).into()
}

fn keys(list: &str) -> Vec<String> {
    let after = list.split("<Key>").skip(1);
    after.map(|rest| rest.split_once("</Key>").unwrap().0.to_owned()).collect()
}
