//! What went wrong with a request, and whether asking again may help.

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::BatchResultErrorEntry;
use tokio::time::{Instant, sleep};

use super::super::{CarrierError, Failed};
use super::SqsLimits;
use crate::domain::QueueName;

/// Codes of what passes by itself, whoever the engine says is at fault.
const PASSING: [&str; 10] = [
    "RequestThrottled",
    "RequestThrottledException",
    "Throttling",
    "ThrottlingException",
    "KmsThrottled",
    "OverLimit",
    "InternalError",
    "InternalFailure",
    "ServiceUnavailable",
    "ServiceUnavailableException",
];
/// Codes that say of a whole request what is wrong with one of its entries.
const OF_AN_ENTRY: [&str; 5] = [
    "BatchRequestTooLong",
    "InvalidMessageContents",
    "InvalidParameterValue",
    "InvalidAttributeValue",
    "ReceiptHandleIsInvalid",
];

/// What an engine said, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(pub(super) String);

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no such queue.
    NoQueue,
    /// The engine does not answer, or is too busy.
    Away(Said),
    /// One of the things asked for together is wrong; who asks for each alone learns which.
    Entry(Said),
    /// The engine refuses.
    Refused {
        /// The engine's own word for it.
        code: String,
        /// What it said.
        said: Said,
    },
}

impl Trouble {
    /// The same for whoever asked about a queue.
    pub(super) fn about(self, queue: &QueueName) -> CarrierError {
        match self {
            Self::NoQueue => CarrierError::NoQueue(queue.clone()),
            Self::Away(said) => CarrierError::Outage(Box::new(said)),
            Self::Entry(said) | Self::Refused { said, .. } => CarrierError::Failed(Box::new(said)),
        }
    }
}

impl<E> From<SdkError<E>> for Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match &error {
            SdkError::ServiceError(answer) => {
                let answer = answer.err();
                let code = plain(answer.code().unwrap_or("an unknown error"));
                let said =
                    Said(format!("{code}: {}", answer.message().unwrap_or("it says no more")));
                match code {
                    "QueueDoesNotExist" | "NonExistentQueue" => Self::NoQueue,
                    code if PASSING.contains(&code) => Self::Away(said),
                    code if OF_AN_ENTRY.contains(&code) => Self::Entry(said),
                    _ if status.is_some_and(|status| status >= 500) => Self::Away(said),
                    code => Self::Refused { code: code.to_owned(), said },
                }
            }
            SdkError::DispatchFailure(dispatch) if dispatch.is_user() => refused(&error),
            // Credentials that cannot be found, and keys that do not fit, are the caller's.
            SdkError::DispatchFailure(dispatch)
                if dispatch.is_other() && dispatch.as_other().is_none() =>
            {
                refused(&error)
            }
            SdkError::ResponseError(_) if status.is_some_and(|status| status < 500) => {
                refused(&error)
            }
            SdkError::ConstructionFailure(_) => refused(&error),
            error => Self::Away(Said(chain(error))),
        }
    }
}

fn refused(error: &(dyn Error + 'static)) -> Trouble {
    Trouble::Refused { code: String::new(), said: Said(chain(error)) }
}

/// The client builds a request's entry wrongly only where a field is missing, and none is.
pub(super) fn unbuilt(error: impl Error) -> Trouble {
    Trouble::Refused { code: String::new(), said: Said(error.to_string()) }
}

/// The code without the prefix that some answers give it.
fn plain(code: &str) -> &str {
    code.rsplit_once('.').map_or(code, |(_, code)| code)
}

/// An error with its causes, which the client hides behind short words.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// What an entry's failure means for it.
pub(super) enum Fate {
    /// It stays so.
    Settled(Failed),
    /// It may be tried again.
    Again(String),
}

/// Reads what the engine said of one entry.
pub(super) fn fate(entry: &BatchResultErrorEntry) -> Fate {
    let code = plain(entry.code());
    let message = entry.message().unwrap_or_default();
    let told = format!("{code}: {message}");
    // What is said of a receipt that is over: a code of its own, or a parameter that is wrong.
    let of_receipt = code == "InvalidParameterValue"
        && (message.contains("not available for visibility timeout change")
            || message.contains("receipt handle has expired"));
    match code {
        "ReceiptHandleIsInvalid" | "MessageNotInflight" => Fate::Settled(Failed::Over),
        _ if of_receipt => Fate::Settled(Failed::Over),
        code if PASSING.contains(&code) || !entry.sender_fault() => Fate::Again(told),
        _ => Fate::Settled(Failed::Refused(told)),
    }
}

/// Asks until the engine answers, or the patience ends.
pub(super) async fn patiently<T, E, A>(
    limits: &SqsLimits,
    mut ask: impl FnMut() -> A + Send,
) -> Result<T, Trouble>
where
    A: Future<Output = Result<T, SdkError<E>>> + Send,
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let until = Instant::now() + limits.patience;
    for attempt in 1_u16.. {
        let trouble = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => Trouble::from(error),
        };
        let wait = limits.backoff.wait(attempt, fastrand::f64());
        if !matches!(trouble, Trouble::Away(_)) || Instant::now() + wait >= until {
            return Err(trouble);
        }
        sleep(wait).await;
    }
    Err(Trouble::Away(Said("it was asked too often".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sender_fault: bool, code: &str, message: &str) -> BatchResultErrorEntry {
        let entry = BatchResultErrorEntry::builder().id("0").sender_fault(sender_fault);
        entry.code(code).message(message).build().unwrap()
    }

    #[test]
    fn an_entrys_failure_is_read() {
        let over = |fate| matches!(fate, Fate::Settled(Failed::Over));
        assert!(over(fate(&entry(true, "ReceiptHandleIsInvalid", ""))));
        assert!(over(fate(&entry(true, "AWS.SimpleQueueService.MessageNotInflight", ""))));
        let late = "Value x for parameter ReceiptHandle is invalid. Reason: Message does not exist or \
                    is not available for visibility timeout change.";
        assert!(over(fate(&entry(true, "InvalidParameterValue", late))));
        let refused = fate(&entry(true, "InvalidMessageContents", "a sign"));
        assert!(matches!(&refused, Fate::Settled(Failed::Refused(why)) if why.contains("a sign")));
        assert!(matches!(fate(&entry(false, "Odd", "")), Fate::Again(_)));
        assert!(matches!(fate(&entry(true, "RequestThrottled", "")), Fate::Again(_)));
    }
}
