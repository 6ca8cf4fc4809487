//! What steers an upload: a pause and why, the failures past which it pauses by itself, and whom its
//! end is told.

use crate::Change;

pub(crate) const CHANGE: Change =
    Change { name: "m0008_steering", postgres: POSTGRES, sqlite: SQLITE };

/// `upload.steered` counts pauses and resumes: who decides by what it saw a moment ago changes nothing
/// when somebody was there meanwhile. `stop_from_*` are the counts at the last resume: failures before
/// it were looked at by whoever resumed.
///
/// `webhook` has a row for each upload whose end somebody wants to hear of. `due_at` is when it may be
/// tried next, and null once that is over; whether the upload has ended says the upload.
const POSTGRES: &str = "
alter table upload add column paused_at bigint;
alter table upload add column paused_why text;
alter table upload add column steered int not null default 0;
alter table upload add column stop_after text;
alter table upload add column stop_from_ended bigint not null default 0;
alter table upload add column stop_from_dead bigint not null default 0;
create index upload_stop on upload(id) where stop_after is not null and paused_at is null;
create table webhook(
  upload_id bigint primary key,
  url text not null,
  attempts int not null default 0,
  due_at bigint,
  tried_at bigint,
  status int,
  error text);
create index webhook_due on webhook(due_at) where due_at is not null;
";

const SQLITE: &str = "
alter table upload add column paused_at integer;
alter table upload add column paused_why text;
alter table upload add column steered integer not null default 0;
alter table upload add column stop_after text;
alter table upload add column stop_from_ended integer not null default 0;
alter table upload add column stop_from_dead integer not null default 0;
create index upload_stop on upload(id) where stop_after is not null and paused_at is null;
create table webhook(
  upload_id integer primary key,
  url text not null,
  attempts integer not null default 0,
  due_at integer,
  tried_at integer,
  status integer,
  error text);
create index webhook_due on webhook(due_at) where due_at is not null;
";
