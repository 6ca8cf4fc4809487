//! The file of an upload that this server goes on with. It may be long on its way from the spool, so
//! the lease is kept meanwhile.

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::lease;
use super::spool::{LocalFile, SpoolError};
use super::taken::IntakeSettings;
use crate::domain::{Problem, ProblemKind};
use crate::store::Store;
use crate::store::control::Upload;

/// An upload's file; `None` if it cannot be had now, or the lease was lost meanwhile. The upload is
/// left then to whoever has it when the lease has run out again: a file that is missing here may be
/// in the spool of another server, and a spool that fails may come back.
///
/// # Errors
/// What is recorded of a file that is not any more what was received: nobody can go on with it.
pub(super) async fn file(
    settings: &IntakeSettings,
    store: &Store,
    upload: &Upload,
) -> Result<Option<LocalFile>, Problem> {
    let Some(name) = upload.spool.as_deref() else { return Ok(None) };
    let lost = CancellationToken::new();
    let keep = lease::keep(store.clone(), upload.fence(), settings.lease, lost.clone());
    let _keeper = AbortOnDropHandle::new(tokio::spawn(keep));
    let fetched = tokio::select! {
        fetched = settings.spool.local(name, upload.bytes, &upload.content_hash) => fetched,
        () = lost.cancelled() => return Ok(None),
    };
    match fetched {
        Ok(file) => Ok(Some(file)),
        Err(error @ SpoolError::Damaged { .. }) => {
            tracing::error!(upload = %upload.public_id, %error, "its file is damaged");
            let detail = "the file is not any more what was received";
            Err(Problem::new(ProblemKind::Unreadable, detail))
        }
        Err(error) => {
            tracing::error!(upload = %upload.public_id, %error, "its file cannot be had");
            Ok(None)
        }
    }
}
