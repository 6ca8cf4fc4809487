//! `rowmill key`: API keys are made, listed and revoked beside the database, not over HTTP, so that
//! no key can make another.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::complain;
use super::serve::database_url;
use crate::domain::{ApiKey, KeySecret, Scope, Scopes};
use crate::store::{Store, StoreError, StoreOptions};

/// Keys that are good at the same time at most: every server holds them in memory.
const KEYS: u64 = 10_000;
/// Characters of a key's name.
const NAME: std::ops::RangeInclusive<usize> = 1..=128;

/// Make, list and revoke API keys.
///
/// A server asks for a key from the moment the first one is made, for ever after: when the last is
/// revoked, nobody may do anything. Every server of the database knows within 2 seconds.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,

    /// The database: postgres://… or sqlite:PATH. sqlite:rowmill.db unless told; DATABASE_URL is
    /// looked at too
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ROWMILL_DATABASE_URL",
        hide_env_values = true
    )]
    database_url: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key, and print it: it is shown this once, and kept nowhere
    Add {
        /// What it is for, in your words
        name: String,

        /// What its holder may do: read, publish, consume, admin (which includes the others);
        /// several separated by commas
        #[arg(long, required = true, value_name = "SCOPE", value_delimiter = ',')]
        scope: Vec<Scope>,

        /// As JSON: the key with its number, name and scopes
        #[arg(long, env = "ROWMILL_JSON")]
        json: bool,
    },
    /// List the keys, also those that are revoked
    List {
        /// As JSON
        #[arg(long, env = "ROWMILL_JSON")]
        json: bool,
    },
    /// Revoke a key: whoever has it may do nothing more, within 2 seconds
    Revoke {
        /// Its number, as `rowmill key list` tells it
        number: i32,

        /// Say on stdout as JSON what it is now
        #[arg(long, env = "ROWMILL_JSON")]
        json: bool,
    },
}

/// Why nothing came of it. Exit code 2.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    /// The name cannot be one.
    #[error("a key's name has {} to {} characters, none of them a line end or the like", NAME.start(), NAME.end())]
    Name,
    /// There are too many.
    #[error("there are {KEYS} keys already: revoke some first")]
    TooMany,
    /// There is none of that number.
    #[error("there is no key {0}: `rowmill key list` has the numbers")]
    NoKey(i32),
    /// The SQLite file is not there.
    #[error("there is no database {path}: `rowmill serve` or `rowmill key add` makes it", path = .0.display())]
    NoFile(PathBuf),
    /// This machine gives no random numbers.
    #[error("no random numbers are to be had: {0}")]
    Random(getrandom::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stdout cannot be written to.
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

impl Args {
    pub(super) async fn run(self) -> ExitCode {
        match self.act().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        }
    }

    async fn act(&self) -> Result<(), KeyError> {
        let url = database_url(self.database_url.clone());
        if let (false, Some(path)) =
            (matches!(self.command, Command::Add { .. }), url.strip_prefix("sqlite:"))
        {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            // Opening it would make it, and say that there are no keys.
            if !path.exists() {
                return Err(KeyError::NoFile(path.to_owned()));
            }
        }
        let store = Store::open(&url, &StoreOptions::default()).await?;
        store.migrate().await?;
        let done = match &self.command {
            Command::Add { name, scope, json } => add(&store, name, scope, *json).await,
            Command::List { json } => list(&store, *json).await,
            Command::Revoke { number, json } => revoke(&store, *number, *json).await,
        };
        store.close().await;
        done
    }
}

#[allow(clippy::print_stderr)] // stdout has the key alone, so that a script can take it
async fn add(store: &Store, name: &str, scope: &[Scope], as_json: bool) -> Result<(), KeyError> {
    let name = name.trim();
    if !NAME.contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(KeyError::Name);
    }
    if store.control.count_good_keys().await? >= KEYS {
        return Err(KeyError::TooMany);
    }
    let first = !store.control.any_key().await?;
    let secret = fresh().map_err(KeyError::Random)?;
    let scopes: Scopes = scope.iter().copied().collect();
    let key = store.control.add_key(name, &secret.hash(), scopes).await?;
    let mut out = std::io::stdout().lock();
    if as_json {
        let mut made = told(&key);
        made["key"] = secret.as_str().into();
        writeln!(out, "{made}")?;
    } else {
        writeln!(out, "{}", secret.as_str())?;
    }
    out.flush()?;
    eprintln!(
        "rowmill: key {} `{}` may {}; it is not shown again",
        key.number, key.name, key.scopes
    );
    if first {
        eprintln!("rowmill: from now on, whoever asks a server of this database needs a key");
    }
    Ok(())
}

/// A key that nobody ever had.
pub(super) fn fresh() -> Result<KeySecret, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(KeySecret::new(random))
}

async fn list(store: &Store, as_json: bool) -> Result<(), KeyError> {
    let keys = store.control.keys().await?;
    let mut out = std::io::stdout().lock();
    if as_json {
        let all: Vec<Value> = keys.iter().map(told).collect();
        writeln!(out, "{}", Value::from(all))?;
        return Ok(());
    }
    let width = keys.iter().map(|key| key.name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "number  {:width$}  {:28}  {:20}  revoked", "name", "scopes", "made")?;
    for key in keys {
        let ApiKey { number, name, scopes, created_ms, revoked_ms, .. } = key;
        let (scopes, made) = (scopes.to_string(), time(created_ms));
        let revoked = revoked_ms.map_or_else(|| "-".to_owned(), time);
        writeln!(out, "{number:>6}  {name:width$}  {scopes:28}  {made:20}  {revoked}")?;
    }
    Ok(())
}

fn told(key: &ApiKey) -> Value {
    json!({
        "number": key.number,
        "name": key.name,
        "scopes": key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "created_at": time(key.created_ms),
        "revoked_at": key.revoked_ms.map(time),
    })
}

#[allow(clippy::print_stderr)] // as for `add`
async fn revoke(store: &Store, number: i32, as_json: bool) -> Result<(), KeyError> {
    let key = store.control.revoke_key(number).await?.ok_or(KeyError::NoKey(number))?;
    if as_json {
        writeln!(std::io::stdout().lock(), "{}", told(&key))?;
    }
    let when = key.revoked_ms.map(time).unwrap_or_default();
    eprintln!("rowmill: key {number} `{}` is revoked since {when}", key.name);
    if store.control.count_good_keys().await? == 0 {
        eprintln!("rowmill: that was the last: nobody may do anything until another is made");
    }
    Ok(())
}

fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}
