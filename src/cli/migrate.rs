//! `rowmill migrate`: brings the database's tables up to this version.

use std::process::ExitCode;

use serde_json::json;

use super::complain;
use crate::store::{Store, StoreOptions};

/// Bring the database's tables up to this version.
///
/// `rowmill run` does this by itself on its own SQLite file; a shared database is migrated once,
/// before the version that needs it is started. Several may be started at once: one does the work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database: postgres://… or sqlite:PATH
    #[arg(
        long,
        value_name = "URL",
        env = "ROWMILL_DATABASE_URL",
        default_value = "sqlite:rowmill.db"
    )]
    database_url: String,

    /// Say it as JSON: {"changes": N}
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,
}

impl Args {
    #[allow(clippy::print_stdout)] // its answer
    pub(super) async fn run(self) -> ExitCode {
        match migrate(&self.database_url).await {
            Ok(changes) if self.json => println!("{}", json!({ "changes": changes })),
            Ok(0) => println!("the tables are up to date"),
            Ok(changes) => println!("{changes} changes made; the tables are up to date"),
            Err(error) => return complain(&error),
        }
        ExitCode::SUCCESS
    }
}

async fn migrate(url: &str) -> Result<usize, crate::store::StoreError> {
    let store = Store::open(url, &StoreOptions::default()).await?;
    let changes = store.migrate().await;
    store.close().await;
    changes
}
