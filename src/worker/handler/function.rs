//! A Rust closure as a handler, for programs that use rowmill as a library.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::Handler;
use crate::domain::{Delivery, Verdict};

/// A handler made by [`from_fn`].
#[derive(Debug, Clone, Copy)]
pub struct FromFn<F>(F);

/// Makes a handler of an async closure. The closure gets a copy of the delivery, so that its
/// future can own what it works on.
pub fn from_fn<F, Fut>(function: F) -> FromFn<F>
where
    F: Fn(Delivery, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send,
{
    FromFn(function)
}

impl<F, Fut> Handler for FromFn<F>
where
    F: Fn(Delivery, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send,
{
    fn handle(
        &self,
        delivery: &Delivery,
        cancel: CancellationToken,
    ) -> impl Future<Output = Verdict> + Send {
        (self.0)(delivery.clone(), cancel)
    }
}
