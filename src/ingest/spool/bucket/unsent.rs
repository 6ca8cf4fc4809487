//! The HTTP client beneath the bucket's: reqwest's, telling requests that were never sent as such.
//!
//! Of a request that waits for a connection which is lost meanwhile, hyper says that it was cancelled
//! before it was processed. object_store takes that for an error it does not know, and makes the
//! request not again, although nothing is safer.

use futures::future::BoxFuture;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

/// Makes such clients.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Client(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Client(HttpClient);

impl HttpService for Client {
    // What `async_trait` makes of `async fn call`.
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> BoxFuture<'f, Result<HttpResponse, HttpError>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async { self.0.execute(request).await.map_err(told) })
    }
}

fn told(error: HttpError) -> HttpError {
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let unsent = chain.filter_map(|e| e.downcast_ref::<hyper::Error>()).any(|e| e.is_canceled());
    if unsent { HttpError::new(HttpErrorKind::Request, error) } else { error }
}
