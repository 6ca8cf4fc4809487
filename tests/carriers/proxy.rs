//! A wire between a driver and its server that a test can cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a server until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
    listens: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A wire to `server`.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = watch::Sender::new(0);
        let cut = cuts.clone();
        let listens = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    let forward = async {
                        let mut far = TcpStream::connect(server).await?;
                        copy_bidirectional(&mut near, &mut far).await
                    };
                    // Whichever ends first: the connection, or the patience of who cuts it.
                    tokio::select! { _ = forward => {}, _ = cut.changed() => {} }
                });
            }
        });
        Self { address, cuts, listens }
    }

    /// Where drivers connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection there is; new ones may be made at once. Answers how many there were.
    pub(crate) fn cut(&self) -> usize {
        let connections = self.cuts.receiver_count();
        self.cuts.send_modify(|cuts| *cuts += 1);
        connections
    }

    /// Cuts every connection there is, and lets no new ones be made.
    pub(crate) fn end(&self) {
        self.listens.abort();
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}
