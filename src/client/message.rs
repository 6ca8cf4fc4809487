//! Publishing, receiving, settling, and what became of messages.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::transport::Request;
use super::{Client, ClientError};
use crate::api::{
    Accepted, AckOne, Copy, Data, Delivery, Extend, ExtendOne, Extended, ExtendedOne, Message,
    NackOne, NewMessage, Outcome, Page, Publish, Receipt, RejectOne, STALE_RECEIPTS, Settle,
    Settled, State,
};

/// Which results; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct ResultsOf {
    /// In this queue.
    pub queue: Option<String>,
    /// Of this upload.
    pub upload: Option<Uuid>,
    /// That ended so.
    pub status: Option<State>,
    /// From where the page before ended: its `next`.
    pub after: Option<String>,
    /// On one page, at most; the server's choice unless told.
    pub limit: Option<usize>,
}

/// [`api::Published::Many`](crate::api::Published), read by itself: which of its two forms an answer
/// has follows from the request.
#[derive(Deserialize)]
struct PublishedMany {
    messages: Vec<Accepted>,
}

impl Client {
    /// Publishes a message: `POST /topics/{topic}/messages`. Answers its copies, one a queue that
    /// takes it. With a key it is published once, however often it is asked for, and tried again by
    /// itself.
    ///
    /// # Errors
    /// [`ClientError`]; without a key the message may have been published nevertheless, unless the
    /// server refused it.
    pub async fn publish(
        &self,
        topic: &str,
        message: NewMessage,
        key: Option<&str>,
    ) -> Result<Vec<Copy>, ClientError> {
        let answer: Data<Copy> = self.publish_as(topic, Publish::One(message), key).await?;
        Ok(answer.data)
    }

    /// Publishes messages in one step, all or none. Answers, in the order given, the ids of each.
    ///
    /// # Errors
    /// As for [`Client::publish`].
    pub async fn publish_many(
        &self,
        topic: &str,
        messages: Vec<NewMessage>,
        key: Option<&str>,
    ) -> Result<Vec<Accepted>, ClientError> {
        let answer: PublishedMany = self.publish_as(topic, Publish::Many(messages), key).await?;
        Ok(answer.messages)
    }

    async fn publish_as<T: serde::de::DeserializeOwned>(
        &self,
        topic: &str,
        publish: Publish,
        key: Option<&str>,
    ) -> Result<T, ClientError> {
        let path = ["topics", topic, "messages"];
        let request = Request { key, repeats: key.is_some(), ..self.post(&path, &publish)? };
        self.ask(&request).await
    }

    /// Receives up to `limit` messages of a queue, waiting up to `wait` for the first:
    /// `GET /queues/{queue}/messages`. Both are capped by the client's limits.
    ///
    /// Cancellation safety: a future dropped half-way may leave messages leased, which come again
    /// when their deadline passes.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is no such queue.
    pub async fn receive(
        &self,
        queue: &str,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, ClientError> {
        let path = ["queues", queue, "messages"];
        let wait = wait.min(self.limits.receive_wait);
        let query = vec![
            ("limit", limit.clamp(1, self.limits.messages).to_string()),
            ("wait", wait.as_secs_f64().to_string()),
        ];
        let timeout = wait + self.limits.request_timeout;
        let request = Request { timeout, repeats: false, ..self.get(&path, query) };
        let answer: Data<Delivery> = self.ask(&request).await?;
        Ok(answer.data)
    }

    /// Settles deliveries in one step: `POST /queues/{queue}/settle`.
    ///
    /// # Errors
    /// [`ClientError`]; unless the server refused, it may have been carried out. Asking again is
    /// safe: what was settled is told as stale then.
    pub async fn settle(&self, queue: &str, settle: &Settle) -> Result<Settled, ClientError> {
        let path = ["queues", queue, "settle"];
        let answer = self.ask(&self.post(&path, settle)?).await;
        match answer {
            Err(error) if error.is_about(STALE_RECEIPTS) => {
                let acks = settle.acks.iter().map(|ack| ack.receipt);
                let nacks = settle.nacks.iter().map(|nack| nack.receipt);
                let rejects = settle.rejects.iter().map(|reject| reject.receipt);
                let releases = settle.releases.iter().copied();
                let stale = acks.chain(nacks).chain(rejects).chain(releases).collect();
                Ok(Settled { stale, ..Settled::default() })
            }
            answer => answer,
        }
    }

    /// Gives leases their queue's deadline anew: `POST /queues/{queue}/extend`.
    ///
    /// # Errors
    /// [`ClientError`]; the old deadlines stand, unless the answer alone was lost.
    pub async fn extend(
        &self,
        queue: &str,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Extended>, ClientError> {
        self.extend_leases(queue, Extend { receipts, seconds: None }).await
    }

    /// Like [`Client::extend`], for as long as is said.
    ///
    /// # Errors
    /// As for [`Client::extend`].
    pub async fn extend_for(
        &self,
        queue: &str,
        receipts: Vec<Receipt>,
        seconds: u32,
    ) -> Result<Vec<Extended>, ClientError> {
        self.extend_leases(queue, Extend { receipts, seconds: Some(seconds) }).await
    }

    async fn extend_leases(
        &self,
        queue: &str,
        extend: Extend,
    ) -> Result<Vec<Extended>, ClientError> {
        let path = ["queues", queue, "extend"];
        let answer: Data<Extended> = self.ask(&self.post(&path, &extend)?).await?;
        Ok(answer.data)
    }

    /// Up to `limit` messages that wait in a queue, without taking them:
    /// `GET /queues/{queue}/messages/peek`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is no such queue.
    pub async fn peek(&self, queue: &str, limit: usize) -> Result<Vec<Message>, ClientError> {
        let path = ["queues", queue, "messages", "peek"];
        let query = vec![("limit", limit.clamp(1, self.limits.messages).to_string())];
        let answer: Data<Message> = self.ask(&self.get(&path, query)).await?;
        Ok(answer.data)
    }

    /// A message, wherever it is: `GET /messages/{message}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that id, or it is gone.
    pub async fn message(&self, message: &str) -> Result<Message, ClientError> {
        self.ask(&self.get(&["messages", message], vec![])).await
    }

    /// Acks a message, whoever has it in hands: `PUT /messages/{message}/ack`.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when it waits, 410 when it has ended otherwise. Unless the server
    /// refused it may have been carried out; asking again is safe.
    pub async fn ack(&self, message: &str, ack: &AckOne) -> Result<(), ClientError> {
        self.do_with(Method::PUT, &["messages", message, "ack"], Some(ack)).await
    }

    /// Nacks a message, whoever has it in hands: `PUT /messages/{message}/nack`.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when it waits, 410 when it has ended.
    pub async fn nack(&self, message: &str, nack: &NackOne) -> Result<(), ClientError> {
        self.do_with(Method::PUT, &["messages", message, "nack"], Some(nack)).await
    }

    /// Rejects a message, whoever has it in hands: `PUT /messages/{message}/reject`.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when it waits, 410 when it has ended.
    pub async fn reject(&self, message: &str, reject: &RejectOne) -> Result<(), ClientError> {
        self.do_with(Method::PUT, &["messages", message, "reject"], Some(reject)).await
    }

    /// Gives the lease that a message is in longer, with all its other messages, and answers how
    /// long it lasts from now: `PUT /messages/{message}/extend`.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when it waits, 410 when it has ended.
    pub async fn extend_message(
        &self,
        message: &str,
        extend: &ExtendOne,
    ) -> Result<Duration, ClientError> {
        let path = ["messages", message, "extend"];
        let request = Request { method: Method::PUT, ..self.post(&path, extend)? };
        let answer: ExtendedOne = self.ask(&request).await?;
        Duration::try_from_secs_f64(answer.deadline_seconds).map_err(|error| {
            ClientError::BadAnswer { url: self.shown(&path), detail: error.to_string() }
        })
    }

    /// A page of what became of messages: `GET /results`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn results(&self, of: &ResultsOf) -> Result<Page<Outcome>, ClientError> {
        let mut query = vec![];
        query.extend(of.queue.clone().map(|queue| ("queue", queue)));
        query.extend(of.upload.map(|upload| ("upload", upload.to_string())));
        if let Some(status) = of.status {
            let name = serde_json::to_value(status)?;
            query.push(("status", name.as_str().unwrap_or_default().to_owned()));
        }
        query.extend(of.after.clone().map(|after| ("after", after)));
        query.extend(of.limit.map(|limit| ("limit", limit.to_string())));
        self.ask(&self.get(&["results"], query)).await
    }

    /// What became of one message: `GET /results/{message}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that id.
    pub async fn result(&self, message: &str) -> Result<Outcome, ClientError> {
        self.ask(&self.get(&["results", message], vec![])).await
    }

    /// A request that does something, not to be repeated by itself.
    pub(super) fn post<'a>(
        &self,
        path: &'a [&'a str],
        body: &impl Serialize,
    ) -> Result<Request<'a>, ClientError> {
        Ok(Request {
            method: Method::POST,
            path,
            query: vec![],
            body: Some(Bytes::from(serde_json::to_vec(body)?)),
            key: None,
            timeout: self.limits.request_timeout,
            repeats: false,
        })
    }
}
