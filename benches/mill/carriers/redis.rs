//! Redis, bare: redis-rs; a stream and a group, XADDs in a pipeline, XREADGROUP with a COUNT, and what
//! is acked is deleted, both in one round trip.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, Pipeline, cmd};

use super::{CREATED, Done, Message, PATIENCE, Producer, Side, WAIT, created};

const GROUP: &str = "bench";

/// An entry's id and its fields.
type Entry = (String, BTreeMap<String, String>);

/// A stream with a group.
#[derive(Clone)]
pub(super) struct Bare {
    client: Client,
    stream: String,
}

impl Bare {
    pub(super) async fn open(url: &str) -> Self {
        let info = url.into_connection_info().unwrap();
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let client = Client::open(info.set_tcp_settings(tcp)).unwrap();
        let bare = Self { client, stream: format!("bare-{}", uuid::Uuid::new_v4().simple()) };
        let mut connection = bare.connect().await;
        let mut make = cmd("XGROUP");
        make.arg("CREATE").arg(&bare.stream).arg(GROUP).arg("0").arg("MKSTREAM");
        make.exec_async(&mut connection).await.unwrap();
        bare
    }

    async fn connect(&self) -> MultiplexedConnection {
        // The client's own limit is half a second, which a busy machine outlasts.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        self.client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }
}

impl Side for Bare {
    type Producer = Sender;

    async fn producer(&self) -> Sender {
        Sender { connection: self.connect().await, stream: self.stream.clone() }
    }

    async fn consume(&self, batch: usize, done: Arc<Done>) {
        let mut connection = self.connect().await;
        let name = uuid::Uuid::new_v4().to_string();
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(name).arg("COUNT").arg(batch);
        let wait = usize::try_from(WAIT.as_millis()).unwrap();
        read.arg("BLOCK").arg(wait).arg("STREAMS").arg(&self.stream).arg(">");
        while done.open() {
            let streams: Option<Vec<(String, Vec<Entry>)>> =
                read.query_async(&mut connection).await.unwrap();
            let Some((_, entries)) = streams.and_then(|all| all.into_iter().next()) else {
                continue;
            };
            let ids: Vec<&str> = entries.iter().map(|(id, _)| id.as_str()).collect();
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.cmd("XACK").arg(&self.stream).arg(GROUP).arg(&ids);
            pipeline.cmd("XDEL").arg(&self.stream).arg(&ids);
            let answers = pipeline.query_async(&mut connection).await;
            let (acked, deleted): (usize, usize) = answers.unwrap();
            assert_eq!((acked, deleted), (ids.len(), ids.len()));
            done.add(acked);
        }
    }
}

pub(super) struct Sender {
    connection: MultiplexedConnection,
    stream: String,
}

impl Producer for Sender {
    async fn publish(&mut self, messages: Vec<Message>) {
        let mut pipeline = Pipeline::with_capacity(messages.len());
        let created = created();
        for message in &messages {
            let command = pipeline.cmd("XADD").arg(&self.stream).arg("*");
            command.arg("id").arg(uuid::Uuid::new_v4().to_string()).arg("data").arg(&message.data);
            command.arg(CREATED).arg(&created);
            for (name, value) in &message.attributes {
                command.arg(name).arg(value);
            }
        }
        let ids: Vec<String> = pipeline.query_async(&mut self.connection).await.unwrap();
        assert_eq!(ids.len(), messages.len());
    }
}
