//! Topics and queues: making, reading, changing and deleting them.

use reqwest::Method;
use serde::Serialize;

use super::transport::Request;
use super::{Client, ClientError};
use crate::api::{
    Data, NewQueue, NewTopic, Queue, QueueStats, QueueTerms, Redrive, Topic, TopicTerms,
};

impl Client {
    /// Makes a topic: `POST /topics`.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when the name is another topic's.
    pub async fn create_topic(&self, id: &str) -> Result<Topic, ClientError> {
        self.ask(&self.post(&["topics"], &NewTopic { id: id.to_owned(), rules: None })?).await
    }

    /// Topics in the order of their names, after the first `offset`: `GET /topics`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn topics(&self, offset: u32, limit: usize) -> Result<Vec<Topic>, ClientError> {
        let answer: Data<Topic> = self.ask(&self.get(&["topics"], slice(offset, limit))).await?;
        Ok(answer.data)
    }

    /// A topic: `GET /topics/{topic}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name.
    pub async fn topic(&self, id: &str) -> Result<Topic, ClientError> {
        self.ask(&self.get(&["topics", id], vec![])).await
    }

    /// Gives a topic other terms, all of them: `PUT /topics/{topic}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name.
    pub async fn replace_topic(&self, id: &str, terms: &TopicTerms) -> Result<Topic, ClientError> {
        let path = ["topics", id];
        self.ask(&Request { method: Method::PUT, ..self.post(&path, terms)? }).await
    }

    /// Deletes a topic; its queues stay: `DELETE /topics/{topic}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name.
    pub async fn delete_topic(&self, id: &str) -> Result<(), ClientError> {
        self.do_with(Method::DELETE, &["topics", id], None::<&()>).await
    }

    /// Makes a queue: `POST /queues`.
    ///
    /// # Errors
    /// [`ClientError`]; 409 when the name is another queue's, or its dead queue is.
    pub async fn create_queue(&self, queue: &NewQueue) -> Result<Queue, ClientError> {
        self.ask(&self.post(&["queues"], queue)?).await
    }

    /// Queues in the order of their names, after the first `offset`: `GET /queues`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn queues(&self, offset: u32, limit: usize) -> Result<Vec<Queue>, ClientError> {
        let answer: Data<Queue> = self.ask(&self.get(&["queues"], slice(offset, limit))).await?;
        Ok(answer.data)
    }

    /// A queue: `GET /queues/{queue}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name.
    pub async fn queue(&self, id: &str) -> Result<Queue, ClientError> {
        self.ask(&self.get(&["queues", id], vec![])).await
    }

    /// Gives a queue other terms, all of them: `PUT /queues/{queue}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name, 409 when its topic or its dead queue
    /// cannot be.
    pub async fn replace_queue(&self, id: &str, terms: &QueueTerms) -> Result<Queue, ClientError> {
        let path = ["queues", id];
        self.ask(&Request { method: Method::PUT, ..self.post(&path, terms)? }).await
    }

    /// Deletes a queue with all that it holds: `DELETE /queues/{queue}`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name.
    pub async fn delete_queue(&self, id: &str) -> Result<(), ClientError> {
        self.do_with(Method::DELETE, &["queues", id], None::<&()>).await
    }

    /// How a queue stands: `GET /queues/{queue}/stats`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name.
    pub async fn queue_stats(&self, id: &str) -> Result<QueueStats, ClientError> {
        self.ask(&self.get(&["queues", id, "stats"], vec![])).await
    }

    /// Cancels what waits in a queue: `PUT /queues/{queue}/purge`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is none of that name.
    pub async fn purge(&self, id: &str) -> Result<(), ClientError> {
        self.do_with(Method::PUT, &["queues", id, "purge"], None::<&()>).await
    }

    /// Moves what waits in a queue to another: `PUT /queues/{queue}/redrive`.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is no queue `from`, 422 when there is no other queue `to`.
    pub async fn redrive(&self, from: &str, to: &str) -> Result<(), ClientError> {
        let redrive = Redrive { destination_queue_id: to.to_owned() };
        self.do_with(Method::PUT, &["queues", from, "redrive"], Some(&redrive)).await
    }

    /// A request that does something and is answered by no more than that.
    pub(super) async fn do_with(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<(), ClientError> {
        let request = match body {
            Some(body) => self.post(path, body)?,
            None => Request { repeats: false, ..self.get(path, vec![]) },
        };
        self.send(&Request { method, ..request }).await.map(drop)
    }
}

fn slice(offset: u32, limit: usize) -> Vec<(&'static str, String)> {
    vec![("offset", offset.to_string()), ("limit", limit.to_string())]
}
