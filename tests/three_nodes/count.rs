//! The count at the end: what the database has, what the API answers, what the handler was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rowmill::api::State;
use rowmill::client::{Client, ResultsOf};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::handler::Office;

/// Every outcome of these uploads by the message that it is of, and how many messages have one.
const OUTCOMES: &str = "
with one as (
  select queue_id, unnest(coalesce(ids, array(select generate_series(first_id, last_id)))) as id
  from outcome where upload_id in (select id from upload where public_id = any($1)))
select count(*), count(distinct (queue_id, id)) from one";
/// Rows that the ledger has as published, and messages that it has as ended.
const LEDGER: &str = "
select (select coalesce(sum(n), 0) from batch where upload_id = any(u.ids))::bigint,
  (select count(*) from carried_end where upload_id = any(u.ids))
from (select array_agg(id) as ids from upload where public_id = any($1)) u";

/// What there is of some uploads.
#[derive(Debug)]
pub(crate) struct Count {
    /// Rows in the ledger, by the API, and as the handler saw them.
    rows: (u64, u64, u64),
    /// Outcomes in the database, and messages that have one.
    outcomes: (u64, u64),
    /// Messages that the ledger has as ended.
    ended: u64,
    done: u64,
    dead: u64,
    /// Rows that the API answers, and different ones among them.
    results: (u64, u64),
    /// How often the handler was asked.
    handled: u64,
    /// Whether those are dead that the handler rejected, and no others.
    right_dead: bool,
}

impl Count {
    /// Counts.
    pub(crate) async fn of(url: &str, server: &Client, uploads: &[Uuid], office: &Office) -> Self {
        let ids: Vec<String> = uploads.iter().map(Uuid::to_string).collect();
        let mut database = PgConnection::connect(url).await.unwrap();
        let (all, messages): (i64, i64) =
            sqlx::query_as(OUTCOMES).bind(&ids).fetch_one(&mut database).await.unwrap();
        let (rows, ended): (i64, i64) =
            sqlx::query_as(LEDGER).bind(&ids).fetch_one(&mut database).await.unwrap();
        let (mut done, mut dead, mut said) = (0, 0, 0);
        let (mut results, mut different) = (0, BTreeSet::new());
        let mut dead_ids = BTreeSet::new();
        for upload in uploads {
            let counts = server.upload_status(*upload).await.unwrap().counts;
            (done, dead, said) = (done + counts.done, dead + counts.dead, said + counts.published);
            for (row, states) in rows_of(server, *upload).await {
                results += states.len() as u64;
                different.insert((*upload, row));
                let died = states.into_iter().filter(|(state, _)| *state == State::Dead);
                dead_ids.extend(died.map(|(_, id)| id));
            }
        }
        let (seen, handled) = office.handled();
        Self {
            rows: (rows as u64, said, seen),
            outcomes: (all as u64, messages as u64),
            ended: ended as u64,
            done,
            dead,
            results: (results, different.len() as u64),
            handled,
            right_dead: dead_ids == office.rejected(),
        }
    }

    /// Panics unless each of `rows` rows has one outcome.
    pub(crate) fn check(&self, rows: u64) {
        assert_eq!(self.rows, (rows, rows, rows), "rows in the ledger, by the API, as handled");
        assert_eq!(self.outcomes, (rows, rows), "outcomes, and messages that have one");
        assert_eq!(self.ended, rows, "messages that the ledger has as ended");
        assert_eq!(self.results, (rows, rows), "results by the API, and different rows among them");
        assert_eq!(self.done + self.dead, rows, "those done and those dead");
        assert!(self.right_dead, "others died than those that were rejected");
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, messages) = self.outcomes;
        write!(
            f,
            "rows {}, outcomes {all} ({} done, {} dead), duplicates {}, missing {}; {} of the rows \
             were handled more than once or tried again",
            self.rows.0,
            self.done,
            self.dead,
            all - messages,
            self.rows.0.saturating_sub(messages),
            self.handled.saturating_sub(self.rows.2),
        )
    }
}

/// What the API answers of each row.
async fn rows_of(server: &Client, upload: Uuid) -> BTreeMap<u32, Vec<(State, String)>> {
    let mut rows: BTreeMap<u32, Vec<(State, String)>> = BTreeMap::new();
    let mut of = ResultsOf { upload: Some(upload), limit: Some(1_000), ..ResultsOf::default() };
    loop {
        let page = server.results(&of).await.unwrap();
        for outcome in page.data {
            rows.entry(outcome.row.unwrap()).or_default().push((outcome.status, outcome.id));
        }
        let Some(next) = page.next else { return rows };
        of.after = Some(next);
    }
}
