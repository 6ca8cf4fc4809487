//! The story on SQS. The server that stands for it is slow, so it is shorter.

use crate::story::Engine;

crate::story::played!(Engine { script: "sqs", rows: 2_000, peeks: false });
