//! The steps that must be one, as the server runs them: `lua/`, a file each.

use redis::{Cmd, Script};

macro_rules! scripts {
    ($($name:ident),*) => {
        /// The scripts; each is known to the server by its hash, and sent when the server does not
        /// know it.
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self {$(
                    $name: Script::new(concat!(
                        include_str!("lua/common.lua"),
                        include_str!(concat!("lua/", stringify!($name), ".lua")),
                    )),
                )*}
            }
        }
    };
}

scripts!(ack, dead, depth, done, ensure, extend, peek, purge, redrive, release, send, tend);

/// A call of a script, to which its arguments are added.
pub(super) struct Call<'a> {
    /// For the server that does not know it.
    pub(super) script: &'a Script,
    /// What is sent.
    pub(super) cmd: Cmd,
}

impl<'a> Call<'a> {
    pub(super) fn new<const N: usize>(script: &'a Script, keys: [&str; N]) -> Self {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(script.get_hash()).arg(N).arg(&keys);
        Self { script, cmd }
    }

    pub(super) fn arg(mut self, value: impl redis::ToRedisArgs) -> Self {
        self.cmd.arg(value);
        self
    }
}
