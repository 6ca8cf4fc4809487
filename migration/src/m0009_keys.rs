//! What identifies a row: seen again, it is a counted duplicate. And which upload an upload corrects.

use crate::Change;

pub(crate) const CHANGE: Change = Change { name: "m0009_keys", postgres: POSTGRES, sqlite: SQLITE };

/// A key belongs to the row that took it first, which is known by upload, sheet and row whatever
/// becomes of its ingestion; `message_id` is where its outcome is looked up. The hash names the topic.
/// `batch.duplicates` are rows that the batch covers and that became no message for it.
const POSTGRES: &str = "
create table row_key(
  hash bytea primary key,
  upload_id bigint not null,
  sheet smallint not null,
  \"row\" int not null,
  message_id bigint not null);
create index row_key_upload on row_key(upload_id);
alter table upload add column corrects text;
create index upload_corrects on upload(corrects) where corrects is not null;
alter table batch add column duplicates int not null default 0;
";

const SQLITE: &str = "
create table row_key(
  hash blob primary key,
  upload_id integer not null,
  sheet integer not null,
  \"row\" integer not null,
  message_id integer not null) without rowid;
create index row_key_upload on row_key(upload_id);
alter table upload add column corrects text;
create index upload_corrects on upload(corrects) where corrects is not null;
alter table batch add column duplicates integer not null default 0;
";
