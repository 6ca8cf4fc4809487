//! What the service needs of uploads: their file in the spool, a lease on their ingestion, and what
//! closes their sums; and publishes that are made once whatever happens (`Idempotency-Key`).

use crate::Change;

pub(crate) const CHANGE: Change =
    Change { name: "m0003_service", postgres: POSTGRES, sqlite: SQLITE };

/// `batch.copies` counts a message once for each queue that takes it: an upload has ended when as
/// many have their outcome.
const POSTGRES: &str = "
alter table upload add column bytes bigint not null default 0;
alter table upload add column spool text;
alter table upload add column stream boolean not null default false;
alter table upload add column lease_until bigint;
create index upload_lease on upload(lease_until) where lease_until is not null and state='ingesting';
alter table batch add column copies int not null default 0;
create table publication(
  topic_id int not null,
  key text not null,
  fingerprint text not null,
  answer text not null,
  created_at bigint not null,
  primary key(topic_id, key));
create index publication_age on publication(created_at);
";

const SQLITE: &str = "
alter table upload add column bytes integer not null default 0;
alter table upload add column spool text;
alter table upload add column stream integer not null default 0;
alter table upload add column lease_until integer;
create index upload_lease on upload(lease_until) where lease_until is not null and state='ingesting';
alter table batch add column copies integer not null default 0;
create table publication(
  topic_id integer not null,
  key text not null,
  fingerprint text not null,
  answer text not null,
  created_at integer not null,
  primary key(topic_id, key)) without rowid;
create index publication_age on publication(created_at);
";
