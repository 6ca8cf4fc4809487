//! What topics demand of rows and messages. A table of its own: topics are looked up with every
//! publish, their rules are large and rare.

use crate::Change;

pub(crate) const CHANGE: Change =
    Change { name: "m0007_rules", postgres: POSTGRES, sqlite: SQLITE };

const POSTGRES: &str = "
create table topic_rules(topic_id int primary key references topic(id), rules text not null);
";

const SQLITE: &str = "
create table topic_rules(topic_id integer primary key references topic(id), rules text not null);
";
