//! The log of messages: batch, message, segment, lease, redelivery, outcome, and the findings that
//! travel with a batch. `docs/architecture.md` says what each is for; the names of the columns are
//! the same in both dialects, arrays are JSON text on SQLite.
//!
//! Invariant that the tables serve: in a queue, a message is in exactly one of a segment, an
//! unsettled position of a lease, a redelivery, an outcome.

use crate::Change;

pub(crate) const CHANGE: Change = Change { name: "m0002_log", postgres: POSTGRES, sqlite: SQLITE };

/// Segments and leases live for seconds and are updated in place, hence the fill factors and the
/// eager vacuum. `segment_ready` leaves held segments out, so that a file of a million rows that is
/// still being read costs those who receive nothing.
const POSTGRES: &str = "
create sequence message_block increment 1000 start 1000;
create table batch(
  first_id bigint primary key,
  n int not null,
  topic_id int not null,
  upload_id bigint,
  sheet smallint not null,
  first_row int not null,
  last_row int not null,
  unrouted int not null,
  created_at bigint not null);
create unique index batch_rows on batch(upload_id, sheet, first_row) where upload_id is not null;
create table message(
  id bigint primary key,
  upload_id bigint,
  \"row\" int,
  sheet smallint,
  data text not null,
  attributes text);
create table segment(
  queue_id int not null,
  first_id bigint not null,
  size int not null,
  next int not null default 0,
  taken smallint[],
  upload_id bigint,
  turn int not null,
  held boolean not null,
  available_at bigint not null,
  expires_at bigint,
  created_at bigint not null,
  primary key(queue_id, first_id))
  with (fillfactor=50, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000);
create index segment_ready on segment(queue_id, turn, first_id) where not held;
create index segment_held on segment(upload_id) where held;
create table lease(
  id uuid primary key,
  queue_id int not null,
  upload_id bigint,
  first_id bigint not null,
  n int not null,
  ids bigint[],
  attempts smallint[],
  settled text,
  unsettled int not null,
  expires_at bigint not null)
  with (fillfactor=70, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000);
create table redelivery(
  queue_id int not null,
  message_id bigint not null,
  upload_id bigint,
  attempts smallint not null,
  available_at bigint not null,
  last_error text,
  primary key(queue_id, message_id))
  with (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000);
create index redelivery_due on redelivery(queue_id, available_at);
create table outcome(
  queue_id int not null,
  first_id bigint not null,
  last_id bigint not null,
  upload_id bigint,
  kind smallint not null,
  n int not null,
  mask text,
  ids bigint[],
  attempts smallint[],
  items text compression lz4,
  settled_at bigint not null,
  primary key(queue_id, first_id));
create table finding(
  upload_id bigint not null,
  sheet smallint not null,
  \"row\" int not null,
  ordinal int not null,
  first_id bigint not null,
  content text not null,
  primary key(upload_id, sheet, \"row\", ordinal));
";

const SQLITE: &str = "
create table message_block(next integer not null);
insert into message_block values (1000);
create table batch(
  first_id integer primary key,
  n integer not null,
  topic_id integer not null,
  upload_id integer,
  sheet integer not null,
  first_row integer not null,
  last_row integer not null,
  unrouted integer not null,
  created_at integer not null);
create unique index batch_rows on batch(upload_id, sheet, first_row) where upload_id is not null;
create table message(
  id integer primary key,
  upload_id integer,
  \"row\" integer,
  sheet integer,
  data text not null,
  attributes text);
create table segment(
  queue_id integer not null,
  first_id integer not null,
  size integer not null,
  next integer not null default 0,
  taken text,
  upload_id integer,
  turn integer not null,
  held integer not null,
  available_at integer not null,
  expires_at integer,
  created_at integer not null,
  primary key(queue_id, first_id)) without rowid;
create index segment_ready on segment(queue_id, turn, first_id) where held = 0;
create index segment_held on segment(upload_id) where held = 1;
create table lease(
  id text primary key,
  queue_id integer not null,
  upload_id integer,
  first_id integer not null,
  n integer not null,
  ids text,
  attempts text,
  settled text,
  unsettled integer not null,
  expires_at integer not null) without rowid;
create table redelivery(
  queue_id integer not null,
  message_id integer not null,
  upload_id integer,
  attempts integer not null,
  available_at integer not null,
  last_error text,
  primary key(queue_id, message_id)) without rowid;
create index redelivery_due on redelivery(queue_id, available_at);
create table outcome(
  queue_id integer not null,
  first_id integer not null,
  last_id integer not null,
  upload_id integer,
  kind integer not null,
  n integer not null,
  mask text,
  ids text,
  attempts text,
  items text,
  settled_at integer not null,
  primary key(queue_id, first_id));
create table finding(
  upload_id integer not null,
  sheet integer not null,
  \"row\" integer not null,
  ordinal integer not null,
  first_id integer not null,
  content text not null,
  primary key(upload_id, sheet, \"row\", ordinal)) without rowid;
";
