//! What the whole queue service needs of the log of messages.

use crate::Change;

pub(crate) const CHANGE: Change =
    Change { name: "m0005_messages", postgres: POSTGRES, sqlite: SQLITE };

/// `lease.expiries` says when its messages expire, by position: null for never, one number for all
/// of them. `redelivery.expires_at` is the same for a message that comes again. Both kinds of what
/// waits are found by their time, however much waits for ever.
///
/// `batch.queues` and `batch.sizes` say how many of its messages each queue took: how fast a queue is
/// published to. The last minute of batches and outcomes is found by BRIN indexes, which cost those
/// who write next to nothing; on SQLite it is looked for from the end of the tables.
const POSTGRES: &str = "
alter table lease add column expiries bigint[];
alter table redelivery add column expires_at bigint;
create index segment_expiry on segment(expires_at) where expires_at is not null and not held;
create index redelivery_expiry on redelivery(expires_at) where expires_at is not null;
alter table batch add column queues int[];
alter table batch add column sizes int[];
create index batch_age on batch using brin(created_at) with (pages_per_range=32, autosummarize=on);
create index outcome_age on outcome using brin(settled_at) with (pages_per_range=32, autosummarize=on);
";

const SQLITE: &str = "
alter table lease add column expiries text;
alter table redelivery add column expires_at integer;
create index segment_expiry on segment(expires_at) where expires_at is not null and held = 0;
create index redelivery_expiry on redelivery(expires_at) where expires_at is not null;
alter table batch add column queues text;
alter table batch add column sizes text;
";
