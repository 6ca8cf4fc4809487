//! What the ledger keeps of messages that travel in a carrier: which of them have ended.

use crate::Change;

pub(crate) const CHANGE: Change =
    Change { name: "m0006_carried", postgres: POSTGRES, sqlite: SQLITE };

/// A carrier may deliver a message twice. Whoever adds its row here first has ended it; what the end
/// was is said by `outcome`, in ranges as for all messages. `kind` is there too because it is looked
/// at whenever messages are taken. Rows of uploads go with their upload; others by their age.
const POSTGRES: &str = "
create table carried_end(
  queue_id int not null,
  message_id bigint not null,
  upload_id bigint,
  kind smallint not null,
  ended_at bigint not null,
  primary key(queue_id, message_id));
create index carried_end_age on carried_end(ended_at) where upload_id is null;
";

const SQLITE: &str = "
create table carried_end(
  queue_id integer not null,
  message_id integer not null,
  upload_id integer,
  kind integer not null,
  ended_at integer not null,
  primary key(queue_id, message_id)) without rowid;
create index carried_end_age on carried_end(ended_at) where upload_id is null;
";
