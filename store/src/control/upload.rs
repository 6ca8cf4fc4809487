//! An upload as the database keeps it.

use std::time::Duration;

use rowmill_entity::upload::{self, State};
use uuid::Uuid;

use super::StoreError;
use crate::log::{Fence, TopicId, UploadId};
use rowmill_domain::FailureLimit;

/// An upload to be recorded.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// The id that users see.
    pub public_id: Uuid,
    /// What finds it again, if somebody will look.
    pub run_key: Option<String>,
    /// The file's name as given.
    pub filename: String,
    /// SHA-256 of its bytes, in hex.
    pub content_hash: String,
    /// How it is read, as JSON.
    pub options: String,
    /// Where its rows go.
    pub topic: TopicId,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The name of its file in the spool, if it is kept there.
    pub spool: Option<String>,
    /// Whether workers may begin before the file has been read to its end.
    pub stream: bool,
    /// The public id of the upload that it corrects.
    pub corrects: Option<Uuid>,
    /// How long its ingestion is the maker's without [`Control::renew`]; `None` for as long as it
    /// takes, where nobody else would take it over.
    pub lease: Option<Duration>,
}

/// How an upload is steered, told when it is recorded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steering {
    /// Past how many failures it pauses by itself.
    pub stop_after: Option<FailureLimit>,
    /// Where its end is told.
    pub webhook: Option<String>,
}

/// That nothing of an upload is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when, in milliseconds since 1970 (UTC).
    pub at: i64,
    /// Why, if nobody asked for it.
    pub why: Option<String>,
}

/// An upload as it is recorded.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its number in the log.
    pub id: UploadId,
    /// The id that users see.
    pub public_id: Uuid,
    /// The file's name as given.
    pub filename: String,
    /// Where its rows go.
    pub topic: TopicId,
    /// How far it is.
    pub state: State,
    /// Who ingests it.
    pub epoch: i32,
    /// The sheets read, with their headers, as JSON.
    pub sheets: String,
    /// What the reader counted, as JSON, once it came to the end.
    pub totals: Option<String>,
    /// Why it failed: a [`Problem`](rowmill_domain::Problem) as JSON.
    pub problem: Option<String>,
    /// SHA-256 of the file, in hex.
    pub content_hash: String,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The name of its file in the spool.
    pub spool: Option<String>,
    /// How it is read: `ReadOptions` of the reader as JSON.
    pub options: String,
    /// Whether workers may begin before the file has been read to its end.
    pub stream: bool,
    /// The public id of the upload that it corrects.
    pub corrects: Option<Uuid>,
    /// When it was received, in milliseconds since 1970 (UTC); so are the others.
    pub created_at: i64,
    /// When all of it was published.
    pub published_at: Option<i64>,
    /// When the last of it ended.
    pub ended_at: Option<i64>,
    /// Whether it is paused; what this says of one that is over is of no concern any more.
    pub paused: Option<Pause>,
    /// Past how many failures it pauses by itself.
    pub stop_after: Option<FailureLimit>,
}

impl Upload {
    /// The right to publish for it that came with reading this.
    pub fn fence(&self) -> Fence {
        Fence { upload: self.id, epoch: self.epoch }
    }
}

pub(super) fn read(model: upload::Model) -> Result<Upload, StoreError> {
    Ok(Upload {
        id: UploadId(model.id),
        public_id: model
            .public_id
            .parse()
            .map_err(|_| StoreError::Damaged(format!("upload {} has no UUID", model.id)))?,
        filename: model.filename,
        topic: TopicId(model.topic_id),
        state: model.state,
        epoch: model.epoch,
        sheets: model.sheets,
        totals: model.totals,
        problem: model.problem,
        content_hash: model.content_hash,
        bytes: u64::try_from(model.bytes).unwrap_or(0),
        spool: model.spool,
        options: model.options,
        stream: model.stream,
        corrects: model.corrects.as_deref().and_then(|id| id.parse().ok()),
        created_at: model.created_at,
        published_at: model.published_at,
        ended_at: model.ended_at,
        paused: model.paused_at.map(|at| Pause { at, why: model.paused_why }),
        stop_after: model
            .stop_after
            .map(|limit| limit.parse())
            .transpose()
            .map_err(|_| StoreError::Damaged(format!("upload {} stops at nothing", model.id)))?,
    })
}

/// The names of the sheets in an upload's `sheets`, by their numbers. Only the names are read here;
/// the rest is the reader's.
///
/// # Errors
/// When it is not what was stored.
pub fn sheet_names(sheets: &str) -> Result<Vec<Option<String>>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Sheet {
        index: u16,
        name: Option<String>,
    }
    let sheets: Vec<Sheet> = serde_json::from_str(sheets)?;
    let mut names = vec![];
    for sheet in sheets {
        let at = usize::from(sheet.index);
        if names.len() <= at {
            names.resize(at + 1, None);
        }
        names[at] = sheet.name;
    }
    Ok(names)
}
