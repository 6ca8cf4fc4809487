//! The `exec` handler with real processes: what they are given, what is made of their end, and that
//! nothing of them is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowmill::domain::{Delivery, MessageKey, Origin, QueueName, Receipt, RowNumber, Verdict};
use rowmill::worker::handler::{ExecOutput, display_output, from_fn};
use rowmill::worker::{AnyHandler, Exec, ExecLimits, Handler, Stop, WorkerLimits, run};
use tokio_util::sync::CancellationToken;

#[path = "support/memory.rs"]
#[allow(dead_code, reason = "the loop's tests use all of it")]
mod memory;

use memory::{Memory, UntilEnded};

fn queue() -> QueueName {
    "rows".parse().unwrap()
}

fn exec_with(limits: ExecLimits, argv: &[&str]) -> Exec {
    let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
    Exec::new(&argv, queue(), limits).unwrap()
}

fn exec(argv: &[&str]) -> Exec {
    exec_with(ExecLimits::default(), argv)
}

fn sh(script: &str) -> Exec {
    exec(&["sh", "-c", script])
}

fn delivery(data: &str) -> Delivery {
    Delivery {
        receipt: Receipt(uuid::Uuid::from_u128(1)),
        position: 0,
        id: MessageKey::new(b"key").id(3, 7),
        attempt: 2,
        origin: Some(Origin {
            upload_id: uuid::Uuid::from_u128(9),
            filename: "orders.xlsx".into(),
            sheet: Some("Orders".into()),
            row: RowNumber(17),
        }),
        data: data.into(),
        attributes: None,
        created_ms: 0,
        expires_ms: None,
    }
}

/// The verdict, which is to come soon whatever the child does.
async fn verdict(exec: &Exec, data: &str) -> Verdict {
    let (delivery, cancel) = (delivery(data), CancellationToken::new());
    let handled = exec.handle(&delivery, cancel);
    tokio::time::timeout(Duration::from_secs(20), handled).await.expect("the handler hangs")
}

async fn output(exec: &Exec, data: &str) -> ExecOutput {
    match verdict(exec, data).await {
        Verdict::Done { output: Some(output) } => serde_json::from_str(&output).unwrap(),
        other => panic!("not done: {other:?}"),
    }
}

/// Waits until a file has a whole line, and answers it.
async fn line(file: &Path) -> String {
    let begin = Instant::now();
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ if begin.elapsed() > Duration::from_secs(20) => panic!("{file:?} was not written"),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Whether a process runs; one that is dead but not reaped does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

async fn until_gone(pid: &str) {
    let begin = Instant::now();
    while runs(pid) {
        assert!(begin.elapsed() < Duration::from_secs(10), "process {pid} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_command_gets_its_arguments_without_a_shell() {
    let exec = exec(&["printf", "%s|", "{id}", "--name={Full Name}", "{{x}}", "{none}", "$HOME;"]);
    let row = r#"{"id":7,"Full Name":"a b; rm -rf \"*\" 'x'\nü","none":null}"#;
    let said = output(&exec, row).await.stdout;
    assert_eq!(said, "7|--name=a b; rm -rf \"*\" 'x'\nü|{x}||$HOME;|");
}

#[tokio::test]
async fn a_command_gets_the_message_and_its_facts() {
    let message = output(&exec(&["cat"]), r#"{"n":1.10,"big":12345678901234567890}"#).await.stdout;
    let id = MessageKey::new(b"key").id(3, 7).to_string();
    let upload = uuid::Uuid::from_u128(9);
    let expected = format!(
        r#"{{"id":"{id}","attempt":2,"upload_id":"{upload}","filename":"orders.xlsx","#
    ) + r#""sheet":"Orders","row":17,"data":{"n":1.10,"big":12345678901234567890},"attributes":{}}"#
        + "\n";
    assert_eq!(message, expected);

    // What the tests themselves were told is in the environment too.
    let sh = sh("env | grep ^ROWMILL_ | grep -v ^ROWMILL_TEST_ | sort");
    let facts = output(&sh, "{}").await.stdout;
    let expected = format!(
        "ROWMILL_ATTEMPT=2\nROWMILL_MESSAGE_ID={id}\nROWMILL_QUEUE=rows\nROWMILL_ROW=17\n\
         ROWMILL_SHEET_NAME=Orders\nROWMILL_UPLOAD_ID={upload}\n"
    );
    assert_eq!(facts, expected);
}

#[tokio::test]
async fn the_exit_code_is_the_verdict() {
    let retry = |reason: &str| Verdict::Retry { reason: reason.into(), after: None };
    let reject = |reason: &str| Verdict::Reject { reason: reason.into() };
    for (script, expected) in [
        ("echo no amount >&2; echo x; exit 65", reject("exit code 65: no amount")),
        ("echo only this; exit 65", reject("exit code 65: only this")),
        ("exit 1", retry("exit code 1")),
        ("echo first; echo down >&2; exit 75", retry("exit code 75: down")),
        ("kill -9 $$", retry("killed by signal 9")),
        ("echo dying >&2; kill -SEGV $$", retry("killed by signal 11: dying")),
    ] {
        assert_eq!(verdict(&sh(script), "{}").await, expected, "{script}");
    }
    let done = verdict(&sh("echo yes; echo hm >&2"), "{}").await;
    let json = r#"{"exit_code":0,"stdout":"yes\n","stderr":"hm\n"}"#;
    assert_eq!(done, Verdict::Done { output: Some(json.into()) });
    assert_eq!(display_output(json), "yes");
}

#[tokio::test]
async fn a_row_that_cannot_be_an_argument_is_rejected() {
    let exec = exec(&["echo", "{id}"]);
    for (row, reason) in [
        (r#"{"name":"x"}"#, "the row has no column `id`"),
        (r#"{"id":"a\u0000b"}"#, "argument 1 would contain a NUL character"),
        ("[1]", "the message's data is not a JSON object: "),
    ] {
        match verdict(&exec, row).await {
            Verdict::Reject { reason: got } => assert!(got.starts_with(reason), "{got}"),
            other => panic!("{row}: {other:?}"),
        }
    }
    // Longer than Linux allows one argument to be.
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(200_000));
    assert!(matches!(verdict(&exec, &long).await, Verdict::Reject { .. }));
}

#[tokio::test]
async fn a_program_that_vanished_is_a_retry() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("job");
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    let exec = exec(&[program.to_str().unwrap()]);
    std::fs::remove_file(&program).unwrap();
    match verdict(&exec, "{}").await {
        Verdict::Retry { reason, .. } => assert!(reason.contains("No such file"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_runs() {
    let new = |argv: &[&str]| {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
        Exec::new(&argv, queue(), ExecLimits::default())
    };
    for (argv, message) in [
        (&[][..], "no command was given"),
        (&["no-such-program"], "there is no program `no-such-program` in the PATH"),
        (&["/no/such"], "there is no program `/no/such`"),
        (&["/tmp/"], "`/tmp/` is not a file that could be run"),
        (&["echo", "x", "{id"], "argument 2, `{id`: the `{` at character 1 is not closed"),
    ] {
        let error = new(argv).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let handler = AnyHandler::Exec(new(&["echo", "{id}", "{amout}"]).unwrap());
    assert_eq!(
        handler.check(&["id".into(), "amount".into()]).unwrap_err().to_string(),
        "argument 2, `{amout}`: there is no column `amout`; there are: id, amount"
    );
}

#[tokio::test]
async fn a_megabyte_on_stdin_need_not_be_read() {
    let row = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
    for script in ["exit 0", "exec <&-; sleep 0.2", "head -c 10 >/dev/null", "sleep 0.2"] {
        assert_eq!(output(&sh(script), &row).await.exit_code, 0, "{script}");
    }
    // Read and said again, both pipes are full at the same time.
    let said = output(&exec(&["cat"]), &row).await;
    assert_eq!(said.stdout.len(), 64 * 1024);
    assert!(said.stdout_truncated_bytes > (1 << 20) - 64 * 1024);
}

#[tokio::test]
async fn output_is_capped_and_an_error_is_quoted_from_its_end() {
    let loud = "head -c 3000000 /dev/zero | tr '\\0' x; head -c 200000 /dev/zero | tr '\\0' y >&2";
    let said = output(&sh(loud), "{}").await;
    assert_eq!((said.stdout.len(), said.stdout_truncated_bytes), (65_536, 3_000_000 - 65_536));
    assert_eq!((said.stderr.len(), said.stderr_truncated_bytes), (65_536, 200_000 - 65_536));

    let failing = format!("exec >&2; {loud}; echo; echo the last word; exit 3");
    match verdict(&sh(&failing), "{}").await {
        Verdict::Retry { reason, .. } => {
            assert!(reason.starts_with("exit code 3: y"), "{}", &reason[..40]);
            assert!(reason.ends_with("y\nthe last word") && reason.len() < 2_100);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_daemon_that_keeps_the_pipes_does_not_keep_the_worker() {
    let begin = Instant::now();
    let pid = output(&sh("sleep 600 & echo $!"), "{}").await.stdout.trim().to_owned();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(runs(&pid), "it was not asked to end");
    let pid: i32 = pid.parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let script = format!("sleep 600 & echo $$ $! >> {}; wait", file.display());
    let source = Arc::new(Memory::new(1));
    let stop = Stop::default();
    let observer = UntilEnded::new(1, &stop.finished);
    let limits =
        WorkerLimits { timeout: Some(Duration::from_millis(300)), ..WorkerLimits::default() };
    let begin = Instant::now();
    let handler = Arc::new(AnyHandler::Exec(sh(&script)));
    let summary = run(source.clone(), queue(), handler, limits, stop, observer).await.unwrap();
    // It obeys SIGTERM, so nobody waits for the grace period to pass.
    assert!(begin.elapsed() < Duration::from_millis(1_800), "{:?}", begin.elapsed());
    assert_eq!(summary.dead, 1);
    source.look(|state| assert_eq!(state.dead[&0], "timed out after 0.3 s"));
    for pid in line(&file).await.split(' ') {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn cancelled_commands_end_politely_or_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let (pids, last) = (dir.path().join("pids"), dir.path().join("last"));
    let (p, l) = (pids.display(), last.display());
    for (polite, script) in [
        (true, format!("trap 'echo bye > {l}; exit 0' TERM; sleep 600 & echo $$ $! > {p}; wait")),
        (false, format!("trap '' TERM; sleep 600 & echo $$ $! > {p}; wait")),
    ] {
        let limits = ExecLimits { kill_grace: Duration::from_millis(300), ..ExecLimits::default() };
        let exec = exec_with(limits, &["sh", "-c", &script]);
        let (delivery, cancel) = (delivery("{}"), CancellationToken::new());
        let handling = exec.handle(&delivery, cancel.clone());
        let (verdict, pids) = tokio::join!(handling, async {
            let pids = line(&pids).await;
            cancel.cancel();
            pids
        });
        assert_eq!(verdict, Verdict::Release);
        for pid in pids.split(' ') {
            until_gone(pid).await;
        }
        assert_eq!(last.exists(), polite);
        std::fs::remove_file(dir.path().join("pids")).unwrap();
        let _ = std::fs::remove_file(&last);
    }
}

#[tokio::test]
async fn a_dropped_handler_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("trap '' TERM; sleep 600 & echo $$ $! > {}; wait", pids.display());
    let (exec, delivery) = (sh(&script), delivery("{}"));
    let pids = tokio::select! {
        verdict = exec.handle(&delivery, CancellationToken::new()) => panic!("{verdict:?}"),
        pids = line(&pids) => pids,
    };
    for pid in pids.split(' ') {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn two_hundred_commands_at_once_do_not_starve_the_runtime() {
    let source = Arc::new(Memory::new(400));
    let stop = Stop::default();
    let observer = UntilEnded::new(400, &stop.finished);
    let limits = WorkerLimits { concurrency: 200, ..WorkerLimits::default() };
    let handler = Arc::new(AnyHandler::Exec(exec(&["sleep", "0.{n}"])));
    let work = run(source.clone(), queue(), handler, limits, stop, observer);
    let mut longest = Duration::ZERO;
    let ticks = async {
        loop {
            let begin = Instant::now();
            tokio::time::sleep(Duration::from_millis(5)).await;
            longest = longest.max(begin.elapsed());
        }
    };
    let summary = tokio::select! {
        summary = work => summary.unwrap(),
        () = ticks => panic!("the ticks ended"),
    };
    assert_eq!((summary.done, summary.again, summary.dead), (400, 0, 0));
    assert!(longest < Duration::from_millis(500), "the runtime stood still for {longest:?}");
}

#[tokio::test]
async fn a_retry_runs_with_its_attempt() {
    let mut source = Memory::new(1);
    source.attempts = 3;
    let source = Arc::new(source);
    let stop = Stop::default();
    let observer = UntilEnded::new(1, &stop.finished);
    let exec = sh("test $ROWMILL_ATTEMPT = 3 || exit 9; echo third");
    let handler = from_fn({
        let exec = Arc::new(exec);
        move |delivery: Delivery, cancel| {
            let exec = exec.clone();
            async move { exec.handle(&delivery, cancel).await }
        }
    });
    let limits = WorkerLimits::default();
    run(source.clone(), queue(), Arc::new(handler), limits, stop, observer).await.unwrap();
    source.look(|state| {
        assert_eq!(state.retried, ["exit code 9"; 2]);
        assert_eq!(display_output(state.done[&0].1.as_deref().unwrap()), "third");
    });
}
