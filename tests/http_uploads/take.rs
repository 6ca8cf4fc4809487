//! What is taken, and what is refused with which words.

use reqwest::multipart::{Form, Part};
use rowmill::api::{UploadAnswer, UploadStatus};
use rowmill::http::HttpLimits;
use rowmill::workbook::ReadLimits;

use crate::scene::{Scene, answers, csv, picture, problem, sample};
use crate::support::TestDatabase;

async fn a_workbook_is_taken_and_published(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let answer = scene.upload("", &[("items.xlsx", sample("sample-21-items.xlsx"))]).await;
    let taken = scene.taken(answer).await.remove(0);
    assert_eq!((taken.filename.as_str(), taken.topic.as_str()), ("items.xlsx", "rows"));
    assert_eq!(taken.bytes, sample("sample-21-items.xlsx").len() as u64);
    assert_eq!(taken.content_hash.len(), 64);
    assert_eq!(taken.links.this, format!("/uploads/{}", taken.id));
    let path = &taken.links.this;
    let shows = async || scene.get::<rowmill::api::Upload>(path).await;
    scene.until("published", async || shows().await.status == UploadStatus::Published).await;
    let now = shows().await;
    let counts = now.counts;
    assert_eq!((counts.read, counts.published, counts.copies, counts.waiting), (21, 21, 21, 21));
    assert_eq!((counts.rejected, counts.unrouted, counts.done), (0, 0, 0));
    assert!(now.timings.published_at.is_some() && now.timings.ended_at.is_none());
    assert_eq!(scene.work("rows", 100).await, 21);
    let ended = shows().await;
    assert_eq!((ended.status, ended.counts.done), (UploadStatus::Ended, 21));
}

async fn a_file_that_was_taken_before_is_answered_with_its_first_upload(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let sent = async |query: &str, name: &str, rows| {
        let answer = scene.upload(query, &[(name, csv(rows))]).await;
        scene.taken(answer).await.remove(0)
    };
    let first = sent("?dedupe=true&wait=true", "first.csv", 10).await;
    assert!(!first.taken_before);
    let again = sent("?dedupe=true", "again.csv", 10).await;
    assert!(again.taken_before);
    assert_eq!((again.id, again.filename.as_str()), (first.id, "first.csv"));
    assert_eq!(again.counts.published, 10);
    assert_eq!(scene.spooled().len(), 1, "{:?}", scene.spooled());
    // Other bytes, another way to read them, or nobody who asks for the first.
    let mut ids = vec![first.id];
    for (query, rows) in [("?dedupe=true", 11), ("?dedupe=true&header_row=2", 10), ("", 10)] {
        let other = sent(query, "other.csv", rows).await;
        assert!(!other.taken_before && !ids.contains(&other.id), "{query}");
        ids.push(other.id);
    }
    // Once withdrawn, it can be sent anew.
    let withdrawn = scene.url(&format!("/uploads/{}/cancel", first.id));
    assert!(scene.client.post(withdrawn).send().await.unwrap().status().is_success());
    let anew = sent("?dedupe=true&wait=true", "anew.csv", 10).await;
    assert!(!anew.taken_before && !ids.contains(&anew.id));
    // Two at once are one upload.
    let two = futures::future::join(
        sent("?dedupe=true&wait=true", "one.csv", 99),
        sent("?dedupe=true&wait=true", "two.csv", 99),
    );
    let (one, two) = two.await;
    assert_eq!(one.id, two.id);
    assert_ne!(one.taken_before, two.taken_before);
}

async fn waiting_answers_with_the_counts(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("thousand.csv", csv(1_000)).await;
    assert_eq!(upload.status, UploadStatus::Published);
    assert_eq!((upload.counts.read, upload.counts.published), (1_000, 1_000));
    let options = "?wait=true&sheet=all&header_row=1&topic=rows&stream=true";
    let answer = scene.upload(options, &[("streamed.csv", csv(10))]).await;
    assert_eq!(scene.taken(answer).await[0].counts.published, 10);
}

async fn a_fault_in_the_middle_is_answered_to_who_waits(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let mut broken = csv(5_000);
    broken.extend_from_slice(b"\"never closed\n");
    let answer = scene.upload("?wait=true", &[("broken.csv", broken.clone())]).await;
    let refused = problem(answer).await;
    assert_eq!((refused.status, refused.kind.as_str()), (422, "/problems/unreadable"));
    assert_eq!(refused.filename.as_deref(), Some("broken.csv"));
    assert!(refused.row.is_some(), "{refused:?}");
    let files = [("broken.csv", broken), ("good.csv", csv(3))];
    let both = answers(scene.upload("?wait=true", &files).await).await;
    assert!(matches!(&both[0], UploadAnswer::Refused(fault) if fault.status == 422), "{both:?}");
    assert!(matches!(&both[1], UploadAnswer::Taken(good) if good.counts.published == 3));
    let uploads: rowmill::api::Page<rowmill::api::Upload> = scene.get("/uploads").await;
    let failed = uploads.data.iter().filter(|one| one.status == UploadStatus::Failed);
    assert_eq!(failed.filter(|one| one.problem.is_some()).count(), 2, "{uploads:?}");
}

async fn a_bad_file_leaves_the_good_ones_alone(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let files = [("a.csv", csv(2)), ("photo.xlsx", picture()), ("b.csv", csv(3))];
    let three = answers(scene.upload("?wait=true", &files).await).await;
    let published = |answer: &UploadAnswer| match answer {
        UploadAnswer::Taken(upload) => Some((upload.filename.clone(), upload.counts.published)),
        UploadAnswer::Refused(_) => None,
    };
    assert_eq!(published(&three[0]), Some(("a.csv".into(), 2)));
    assert_eq!(published(&three[2]), Some(("b.csv".into(), 3)));
    let UploadAnswer::Refused(refused) = &three[1] else { panic!("a picture was taken") };
    assert_eq!((refused.status, refused.kind.as_str()), (415, "/problems/wrong-kind"));
    assert_eq!(refused.filename.as_deref(), Some("photo.xlsx"));
    assert_eq!(scene.spooled().len(), 2, "the picture is still there");
}

async fn none_taken_is_a_refusal(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let one = problem(scene.upload("", &[("photo.xlsx", picture())]).await).await;
    assert_eq!((one.status, one.filename.as_deref()), (415, Some("photo.xlsx")));
    let alike = scene.upload("", &[("1.xlsx", picture()), ("2.xlsx", picture())]).await;
    let alike = problem(alike).await;
    assert_eq!((alike.status, alike.files.len()), (415, 2), "{alike:?}");
    let mixed = scene.upload("", &[("1.xlsx", picture()), ("empty.csv", vec![])]).await;
    let mixed = problem(mixed).await;
    assert_eq!((mixed.status, mixed.files.len()), (422, 2), "{mixed:?}");
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn what_is_asked_for_must_exist(database: TestDatabase) {
    let scene = Scene::new(database).await;
    for (query, status) in [
        ("?topic=nowhere", 404),
        ("?topic=no%20name", 422),
        ("?sheet=", 422),
        ("?sheet=%230", 422),
        ("?sheet=Nowhere", 422),
        ("?header_row=0", 422),
        ("?header_row=first", 422),
        ("?wait=maybe", 422),
        ("?stream=2", 422),
        ("?wiat=true", 422),
        ("?wait=true&wait=true", 422),
    ] {
        let file = [("items.xlsx", sample("sample-21-items.xlsx"))];
        let refused = problem(scene.upload(query, &file).await).await;
        assert_eq!(refused.status, status, "{query}: {refused:?}");
        assert!(!refused.detail.is_empty(), "{query}");
    }
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn a_body_must_be_files_in_the_field_files(database: TestDatabase) {
    let limits = HttpLimits { files: 2, ..HttpLimits::default() };
    let scene = Scene::with(database, limits, ReadLimits::default()).await;
    let file = || Part::bytes(csv(1)).file_name("a.csv");
    for (form, status) in [
        (Form::new().part("file", file()), 422),
        (Form::new().part("files", file()).text("comment", "x"), 422),
        (Form::new().text("files", "x"), 422),
        (Form::new().part("files", Part::bytes(vec![]).file_name("")), 422),
        (Form::new().part("files", file()).part("files", file()).part("files", file()), 413),
    ] {
        let refused = problem(scene.send("", form).await).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    for (kind, body, status) in [
        (None, "", 415),
        (Some("application/json"), "{}", 415),
        (Some("multipart/form-data"), "", 400),
        (Some("multipart/form-data; boundary=x"), "", 400),
        (Some("multipart/form-data; boundary=x"), "no boundary at all", 400),
        (Some("multipart/form-data; boundary=x"), "--x--\r\n", 422),
        (
            Some("multipart/form-data; boundary=x"),
            "--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
            422,
        ),
    ] {
        let mut request = scene.client.post(scene.url("/file/upload")).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let refused = problem(request.send().await.unwrap()).await;
        assert_eq!(refused.status, status, "{kind:?} {body:?}: {refused:?}");
    }
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
    let uploads: rowmill::api::Page<rowmill::api::Upload> = scene.get("/uploads").await;
    assert!(uploads.data.is_empty(), "{uploads:?}");
}

on_both!(
    a_workbook_is_taken_and_published,
    a_file_that_was_taken_before_is_answered_with_its_first_upload,
    waiting_answers_with_the_counts,
    a_fault_in_the_middle_is_answered_to_who_waits,
    a_bad_file_leaves_the_good_ones_alone,
    none_taken_is_a_refusal,
    what_is_asked_for_must_exist,
    a_body_must_be_files_in_the_field_files,
);
