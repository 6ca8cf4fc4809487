//! SQS, bare: aws-sdk-sqs; requests of ten, eight of one caller at once, long polls, deletes in
//! batches.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry as Delete, Message as Received, MessageAttributeValue,
    SendMessageBatchRequestEntry as Entry,
};
use futures::{StreamExt, stream};

use super::{CREATED, Done, Message, Producer, Side, created};

/// Entries of a request.
const TEN: usize = 10;
/// Requests that one producer or consumer has under way at once.
const AT_ONCE: usize = 8;

/// A queue.
#[derive(Clone)]
pub(super) struct Bare {
    client: Client,
    queue: String,
}

impl Bare {
    /// `sqs://ID:SECRET@REGION?endpoint=URL`, as `tests/sqs` prints it.
    pub(super) async fn open(url: &str) -> Self {
        let (who, endpoint) = url.split_once("?endpoint=").unwrap();
        let (keys, region) = who.trim_start_matches("sqs://").split_once('@').unwrap();
        let (id, secret) = keys.split_once(':').unwrap();
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(region.to_owned()))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new(id, secret, None, None, "the URL"));
        let client = Client::new(&config.load().await);
        let name = format!("bare-{}", uuid::Uuid::new_v4().simple());
        let made = client.create_queue().queue_name(name).send().await.unwrap();
        Self { client, queue: made.queue_url.unwrap() }
    }

    /// Up to so many, which waits so many seconds for the first of them.
    async fn receive(&self, most: usize, seconds: i32) -> Vec<Received> {
        let ask = self.client.receive_message().queue_url(&self.queue);
        let ask = ask.max_number_of_messages(i32::try_from(most).unwrap());
        let ask = ask.wait_time_seconds(seconds).message_attribute_names("All");
        ask.send().await.unwrap().messages.unwrap_or_default()
    }

    async fn delete(&self, messages: &[Received]) -> usize {
        let entry = |(n, message): (usize, &Received)| {
            let handle = message.receipt_handle.clone().unwrap();
            Delete::builder().id(n.to_string()).receipt_handle(handle).build().unwrap()
        };
        let entries = messages.iter().enumerate().map(entry).collect();
        let ask = self.client.delete_message_batch().queue_url(&self.queue);
        let answer = ask.set_entries(Some(entries)).send().await.unwrap();
        assert!(answer.failed.is_empty());
        answer.successful.len()
    }
}

impl Side for Bare {
    type Producer = Self;

    async fn producer(&self) -> Self {
        self.clone()
    }

    async fn consume(&self, batch: usize, done: Arc<Done>) {
        while done.open() {
            let asks = (0..batch).step_by(TEN).map(|from| self.receive(TEN.min(batch - from), 0));
            let answers = stream::iter(asks).buffer_unordered(AT_ONCE);
            let mut taken: Vec<Received> = answers.map(stream::iter).flatten().collect().await;
            if taken.is_empty() {
                taken = self.receive(TEN, 1).await;
            }
            let deletes = taken.chunks(TEN).map(|messages| self.delete(messages));
            let deletes: Vec<_> = deletes.collect();
            let deleted = stream::iter(deletes).buffer_unordered(AT_ONCE);
            let deleted: usize = deleted.fold(0, async |all, deleted| all + deleted).await;
            done.add(deleted);
        }
    }
}

impl Bare {
    async fn send(&self, messages: &[Message]) -> usize {
        let text = |text: &str| {
            let value = MessageAttributeValue::builder().data_type("String").string_value(text);
            value.build().unwrap()
        };
        let created = created();
        let entry = |(n, message): (usize, &Message)| {
            let attributes = message.attributes.iter();
            let attributes = attributes.map(|(name, value)| (name.clone(), text(value)));
            let id = uuid::Uuid::new_v4().to_string();
            let entry = Entry::builder().id(n.to_string()).message_body(&message.data);
            let entry = entry.set_message_attributes(Some(attributes.collect()));
            let entry = entry.message_attributes(CREATED, text(&created));
            entry.message_attributes("id", text(&id)).build().unwrap()
        };
        let entries = messages.iter().enumerate().map(entry).collect();
        let ask = self.client.send_message_batch().queue_url(&self.queue);
        let answer = ask.set_entries(Some(entries)).send().await.unwrap();
        assert!(answer.failed.is_empty());
        answer.successful.len()
    }
}

impl Producer for Bare {
    async fn publish(&mut self, messages: Vec<Message>) {
        let sends: Vec<_> = messages.chunks(TEN).map(|messages| self.send(messages)).collect();
        let sent = stream::iter(sends).buffer_unordered(AT_ONCE);
        let sent: usize = sent.fold(0, async |all, sent| all + sent).await;
        assert_eq!(sent, messages.len());
    }
}
