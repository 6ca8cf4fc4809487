//! Bodies that are too large, that break off, that stop coming, and clients that go away. Most of
//! this no client library does on purpose, so the bytes are written by hand.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use rowmill::api::UploadAnswer;
use rowmill::http::HttpLimits;
use rowmill::workbook::ReadLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scene::{PATIENCE, Scene, answers, csv, problem};
use crate::support::TestDatabase;

const PART: &str =
    "--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.csv\"\r\n\r\n";

fn small() -> HttpLimits {
    HttpLimits { file_bytes: 32 << 10, files: 3, ..HttpLimits::default() }
}

/// A body without a length, in pieces.
fn chunked(bytes: Vec<u8>) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(4_096)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    Body::wrap_stream(futures::stream::iter(pieces))
}

/// What a server answers, until it closes.
async fn answer(mut stream: TcpStream) -> String {
    let mut text = vec![];
    timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("no answer").unwrap();
    String::from_utf8(text).unwrap()
}

async fn send(scene: &Scene, path: &str, headers: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&scene.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n{headers}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

async fn a_file_over_the_limit_is_refused_and_no_other(database: TestDatabase) {
    let scene = Scene::with(database, small(), ReadLimits::default()).await;
    let large = csv(10_000);
    assert!(large.len() > 32 << 10);
    let alone = problem(scene.upload("", &[("large.csv", large.clone())]).await).await;
    assert_eq!((alone.status, alone.filename.as_deref()), (413, Some("large.csv")));
    let files = [("a.csv", csv(2)), ("large.csv", large.clone()), ("b.csv", csv(3))];
    let three = answers(scene.upload("", &files).await).await;
    assert!(matches!(&three[0], UploadAnswer::Taken(_)));
    assert!(matches!(&three[1], UploadAnswer::Refused(refused) if refused.status == 413));
    assert!(matches!(&three[2], UploadAnswer::Taken(_)));
    let part = Part::stream(chunked(large)).file_name("chunked.csv");
    let refused = problem(scene.send("", Form::new().part("files", part)).await).await;
    assert_eq!((refused.status, refused.filename.as_deref()), (413, Some("chunked.csv")));
    assert_eq!(scene.spooled().len(), 2, "{:?}", scene.spooled());
}

async fn a_body_over_all_limits_is_refused(database: TestDatabase) {
    let scene = Scene::with(database, small(), ReadLimits::default()).await;
    let huge = vec![b'7'; 4 << 20];
    let with_length = problem(scene.upload("", &[("huge.csv", huge.clone())]).await).await;
    assert_eq!(with_length.status, 413, "{with_length:?}");
    let part = Part::stream(chunked(huge)).file_name("huge.csv");
    let without = problem(scene.send("", Form::new().part("files", part)).await).await;
    assert_eq!(without.status, 413, "{without:?}");
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn who_is_refused_early_can_read_why(database: TestDatabase) {
    let scene = Scene::new(database).await;
    // All of it is written before the answer is looked at.
    let mut body = PART.as_bytes().to_vec();
    body.resize(8 << 20, b'7');
    body.extend_from_slice(b"\r\n--x--\r\n");
    let length = format!("Content-Length: {}", body.len());
    let stream = send(&scene, "/file/upload?topic=nowhere", &length, &body).await;
    let answered = answer(stream).await;
    assert!(answered.starts_with("HTTP/1.1 404 "), "{answered}");
    assert!(answered.contains("nowhere"), "{answered}");
}

async fn who_asks_first_is_told_before_they_send(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let headers = "Content-Length: 100000000\r\nExpect: 100-continue";
    let stream = send(&scene, "/file/upload?topic=nowhere", headers, b"").await;
    let answered = answer(stream).await;
    assert!(answered.starts_with("HTTP/1.1 404 "), "{answered}");
}

async fn a_client_that_stops_sending_is_told(database: TestDatabase) {
    let limits = HttpLimits { upload_silence: Duration::from_millis(200), ..HttpLimits::default() };
    let scene = Scene::with(database, limits, ReadLimits::default()).await;
    for sent in ["", "--x\r\nContent-Dispo", PART, &format!("{PART}id\n1\n2\r\n--")] {
        let stream = send(&scene, "/file/upload", "Content-Length: 100000", sent.as_bytes()).await;
        let answered = answer(stream).await;
        assert!(answered.starts_with("HTTP/1.1 408 "), "{sent:?}: {answered}");
    }
    scene.until("nothing is left", async || scene.spooled().is_empty()).await;
}

async fn a_client_that_goes_away_leaves_nothing(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let body = format!("{PART}id\n1\n2\n");
    let stream = send(&scene, "/file/upload", "Content-Length: 100000", body.as_bytes()).await;
    scene.until("it is being received", async || !scene.spooled().is_empty()).await;
    drop(stream);
    scene.until("nothing is left", async || scene.spooled().is_empty()).await;
}

async fn a_body_that_breaks_off_is_refused(database: TestDatabase) {
    let scene = Scene::new(database).await;
    for sent in [
        PART.to_owned(),
        format!("{PART}id\n1\n2\n"),
        format!("{PART}id\n1\n2\r\n--x"),
        format!("{PART}id\n1\n2\r\n--x\r\nContent-Dispo"),
    ] {
        // Two good files before the end do not make it whole.
        let body = format!("{PART}id\n1\r\n{sent}");
        let length = format!("Content-Length: {}", body.len());
        let answered = answer(send(&scene, "/file/upload", &length, body.as_bytes()).await).await;
        assert!(answered.starts_with("HTTP/1.1 400 "), "{sent:?}: {answered}");
    }
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn a_header_without_end_is_refused(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut body = b"--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"".to_vec();
    body.resize(2 << 20, b'a');
    let length = format!("Content-Length: {}", body.len());
    let answered = answer(send(&scene, "/file/upload", &length, &body).await).await;
    assert!(answered.starts_with("HTTP/1.1 400 "), "{answered}");
}

async fn a_server_that_stops_receives_no_more(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let body = format!("{PART}id\n1\n2\n");
    let stream = send(&scene, "/file/upload", "Content-Length: 100000", body.as_bytes()).await;
    scene.until("it is being received", async || !scene.spooled().is_empty()).await;
    scene.stop.cancel();
    let answered = answer(stream).await;
    assert!(answered.starts_with("HTTP/1.1 503 "), "{answered}");
    assert!(answered.contains("retry-after: 1"), "{answered}");
}

on_both!(
    a_file_over_the_limit_is_refused_and_no_other,
    a_body_over_all_limits_is_refused,
    who_is_refused_early_can_read_why,
    who_asks_first_is_told_before_they_send,
    a_client_that_stops_sending_is_told,
    a_client_that_goes_away_leaves_nothing,
    a_body_that_breaks_off_is_refused,
    a_header_without_end_is_refused,
    a_server_that_stops_receives_no_more,
);
