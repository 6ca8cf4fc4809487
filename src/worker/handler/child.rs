//! One child process and everything it starts: spawned as a process group, fed, read, and ended as
//! a group.
//!
//! Three traps shape this file. A pid means a process only until it is waited for; afterwards it
//! may be anybody's. So the group is signalled only while its leader has not been reaped, and when
//! it is being ended, the leader's exit is watched without reaping it. Pipes deadlock unless stdin
//! is written and both outputs are read at the same time. And a pipe ends when its last holder
//! does, who may be a daemon that the child left behind: once the child has exited, the pipes get
//! only a short while more.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::capture::Capture;
use super::exec::ExecLimits;

/// How often the exit of a child that is being ended is looked for. Nothing tells of an exit
/// without reaping it, and this is polled only between SIGTERM and SIGKILL.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// How long a killed child may take to be gone. The kernel needs longer only for a process that
/// hangs in a device, and then waiting helps nobody.
const REAP_WAIT: Duration = Duration::from_secs(1);

/// A running child, the leader of its own process group.
#[derive(Debug)]
pub(super) struct ChildGroup {
    child: Child,
}

/// How a child ended, and what it said.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None`: it was ended because of the cancellation.
    pub(super) status: Option<ExitStatus>,
    pub(super) stdout: Capture,
    pub(super) stderr: Capture,
}

impl ChildGroup {
    /// Starts the command. Blocks for about a millisecond while the kernel makes the process, and
    /// needs the runtime's context: call it inside `spawn_blocking`.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child })
    }

    /// Feeds `input` to the child and reads what it says until it has ended, or until `cancel`
    /// fires and the group has been ended: SIGTERM, a grace period, SIGKILL.
    ///
    /// Cancellation safety: dropped half-way, the group is killed at once.
    pub(super) async fn run(
        mut self,
        input: String,
        limits: &ExecLimits,
        cancel: &CancellationToken,
    ) -> io::Result<Ended> {
        let capture = || Capture::new(limits.output_bytes, limits.reason_bytes);
        let (mut stdout, mut stderr) = (capture(), capture());
        let pipes = (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let (Some(stdin), Some(out), Some(err)) = pipes else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let status = {
            let mut talk = pin!(async {
                tokio::join!(feed(stdin, input), stdout.drain(out), stderr.drain(err))
            });
            let mut talking = true;
            loop {
                tokio::select! {
                    // In this order: a child that has exited was not interrupted.
                    biased;
                    status = self.child.wait() => {
                        if talking {
                            // Whatever the pipes hold now is read well within the time.
                            let _ = timeout(limits.pipe_grace, &mut talk).await;
                        }
                        break Some(status?);
                    }
                    _ = &mut talk, if talking => talking = false,
                    () = cancel.cancelled() => {
                        let talk = talking.then_some(talk.as_mut());
                        self.end(limits.kill_grace, talk).await;
                        break None;
                    }
                }
            }
        };
        Ok(Ended { status, stdout, stderr })
    }

    /// Ends the group: SIGTERM; then SIGKILL when the grace is over, or as soon as the leader has
    /// exited and nobody holds its pipes any more.
    async fn end<F: Future + Unpin>(&mut self, grace: Duration, mut talk: Option<F>) {
        self.signal(Signal::TERM);
        let over = Instant::now() + grace;
        while Instant::now() < over && !(talk.is_none() && self.has_exited()) {
            let tick = sleep_until(over.min(Instant::now() + EXIT_POLL));
            match &mut talk {
                Some(talking) => tokio::select! {
                    _ = talking => talk = None,
                    () = tick => {}
                },
                None => tick.await,
            }
        }
        self.signal(Signal::KILL);
        let _ = timeout(REAP_WAIT, self.child.wait()).await;
    }

    fn pid(&self) -> Option<Pid> {
        // `id` is `None` from the moment the child has been reaped. It is reaped only by polling
        // `Child::wait`, which borrows what this borrows.
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It fails only if no member of the group is left, which is what is wanted.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.pid().is_none_or(|pid| matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_))))
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Writes the input and closes the pipe. A child need not read it: an error ends the feeding and
/// nothing else.
async fn feed(mut stdin: ChildStdin, input: String) {
    let _ = stdin.write_all(input.as_bytes()).await;
}
