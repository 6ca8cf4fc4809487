//! A way to a server that can be cut and opened again.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on while it is open; while it is not, they are cut.
pub(crate) struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
    asked: watch::Receiver<usize>,
}

impl Proxy {
    /// A way to `endpoint`, such as `http://127.0.0.1:5000`; closed at first.
    pub(crate) async fn new(endpoint: &str) -> Self {
        let to = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(false);
        let (count, asked) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                if !*is_open.borrow() {
                    continue;
                }
                let (to, mut closed) = (to.clone(), is_open.clone());
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        _ = closed.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open, asked }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Waits until somebody has come while it is cut, more often than before.
    pub(crate) async fn asked_again(&self) {
        self.asked_times(1).await;
    }

    /// Waits until somebody has come so many times from now on.
    pub(crate) async fn asked_times(&self, times: usize) {
        let mut asked = self.asked.clone();
        let before = *asked.borrow_and_update();
        asked.wait_for(|asked| *asked >= before + times).await.unwrap();
    }
}
