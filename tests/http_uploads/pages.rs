//! Rows, rejects and uploads, a page at a time.

use rowmill::api::{Finding, Row, State, Upload};
use rowmill::http::HttpLimits;
use rowmill::workbook::ReadLimits;

use crate::scene::{Scene, csv, problem, sample};
use crate::support::TestDatabase;

async fn rows_come_in_order_with_their_messages(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("items.xlsx", sample("sample-21-items.xlsx")).await;
    let (rows, sizes) = scene.pages::<Row>(&upload.links.rows, 8).await;
    assert_eq!(sizes, [8, 8, 5]);
    let numbers: Vec<u32> = rows.iter().map(|row| row.row).collect();
    assert_eq!(numbers, (2..=22).collect::<Vec<u32>>());
    for row in &rows {
        assert!(row.sheet.is_some() && row.data.get().starts_with('{'), "{row:?}");
        let [copy] = row.messages.as_slice() else { panic!("{row:?}") };
        assert_eq!((copy.queue.as_str(), copy.state), ("rows", State::Waiting));
        let id = copy.id.parse().unwrap();
        assert!(scene.broker.open_id(id).is_some(), "the id is not one of ours");
    }
    assert_eq!(scene.work("rows", 5).await, 5);
    let (rows, _) = scene.pages::<Row>(&upload.links.rows, 1_000).await;
    let done = rows.iter().filter(|row| row.messages[0].state == State::Done).count();
    assert_eq!((done, rows.len()), (5, 21));
}

async fn pages_are_right_whatever_their_size(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("many.csv", csv(300)).await;
    // Batches have 64 rows.
    for limit in [1, 7, 63, 64, 65, 299, 300, 301] {
        let (rows, sizes) = scene.pages::<Row>(&upload.links.rows, limit).await;
        let numbers: Vec<u32> = rows.iter().map(|row| row.row).collect();
        assert_eq!(numbers, (2..=301).collect::<Vec<u32>>(), "pages of {limit}");
        assert!(sizes.iter().rev().skip(1).all(|size| *size == limit), "{limit}: {sizes:?}");
        assert_eq!(sizes.len(), 300_usize.div_ceil(limit), "pages of {limit}");
    }
}

async fn a_row_names_the_queues_that_take_it(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.queue_of_rows("some", &["5", "70", "71"]).await;
    let upload = scene.published("many.csv", csv(100)).await;
    assert_eq!((upload.counts.published, upload.counts.copies), (100, 103));
    assert_eq!(scene.work("some", 1).await, 1);
    let (rows, _) = scene.pages::<Row>(&upload.links.rows, 33).await;
    let states: Vec<(u32, State)> = rows
        .iter()
        .filter_map(|row| {
            let copy = row.messages.iter().find(|copy| copy.queue == "some")?;
            Some((row.row, copy.state))
        })
        .collect();
    assert_eq!(states, [(5, State::Done), (70, State::Waiting), (71, State::Waiting)]);
    assert!(rows.iter().all(|row| row.messages[0].queue == "rows"));
}

async fn rejects_have_their_addresses(database: TestDatabase) {
    let read = ReadLimits { cell_bytes: 40, ..ReadLimits::default() };
    let scene = Scene::with(database, HttpLimits::default(), read).await;
    let long = "x".repeat(100);
    let mut file = "id,name\n".to_owned();
    for row in 2..=12 {
        let name = if row % 2 == 1 { &long } else { "short" };
        file += &format!("{row},{name}\n");
    }
    let upload = scene.published("long.csv", file.into_bytes()).await;
    assert_eq!((upload.counts.rejected, upload.counts.published), (5, 6));
    let (found, sizes) = scene.pages::<Finding>(&upload.links.rejects, 2).await;
    assert_eq!(sizes, [2, 2, 1]);
    let addresses: Vec<&str> = found.iter().map(|finding| finding.address.as_str()).collect();
    assert_eq!(addresses, ["B3", "B5", "B7", "B9", "B11"]);
    for finding in &found {
        assert!(finding.rejected && !finding.detail.is_empty(), "{finding:?}");
        assert_eq!((finding.sheet.as_deref(), finding.column.as_deref()), (None, Some("B")));
    }
}

async fn uploads_are_listed_newest_first(database: TestDatabase) {
    let scene = Scene::new(database).await;
    for name in ["1.csv", "2.csv", "3.csv", "4.csv", "5.csv"] {
        scene.published(name, csv(1)).await;
    }
    let (uploads, sizes) = scene.pages::<Upload>("/uploads", 2).await;
    assert_eq!(sizes, [2, 2, 1]);
    let names: Vec<&str> = uploads.iter().map(|upload| upload.filename.as_str()).collect();
    assert_eq!(names, ["5.csv", "4.csv", "3.csv", "2.csv", "1.csv"]);
    let one: Upload = scene.get(&uploads[0].links.this).await;
    assert_eq!(one, uploads[0]);
}

async fn what_cannot_be_is_refused(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let upload = scene.published("1.csv", csv(1)).await;
    let this = &upload.links.this;
    for (path, status) in [
        ("/uploads/00000000-0000-4000-8000-000000000000".to_owned(), 404),
        ("/uploads/00000000-0000-4000-8000-000000000000/rows".to_owned(), 404),
        ("/uploads/00000000-0000-4000-8000-000000000000/events".to_owned(), 404),
        ("/uploads/17".to_owned(), 422),
        ("/uploads?limit=0".to_owned(), 422),
        ("/uploads?limit=1001".to_owned(), 422),
        ("/uploads?after=x".to_owned(), 422),
        ("/uploads?before=1".to_owned(), 422),
        (format!("{this}?x=1"), 422),
        (format!("{this}/rows?after=1"), 422),
        (format!("{this}/rejects?limit=-1"), 422),
        (format!("{this}/nothing"), 404),
    ] {
        let refused = problem(scene.client.get(scene.url(&path)).send().await.unwrap()).await;
        assert_eq!(refused.status, status, "{path}: {refused:?}");
    }
}

on_both!(
    rows_come_in_order_with_their_messages,
    pages_are_right_whatever_their_size,
    a_row_names_the_queues_that_take_it,
    rejects_have_their_addresses,
    uploads_are_listed_newest_first,
    what_cannot_be_is_refused,
);
