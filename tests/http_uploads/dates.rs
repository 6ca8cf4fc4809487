//! Dates that are written as text: made dates of in the order that is said, or that their column
//! gives away.

use reqwest::StatusCode;
use rowmill::api::{Data, Delivery, Finding, Page, PreviewAnswer, Upload};

use crate::scene::{Scene, problem};
use crate::support::TestDatabase;

/// `due` gives away that the day is first, `paid` that the month is; `seen` gives nothing away.
const TOLD: &str = "id,due,paid\n1,03/04/2026,01/02/2026\n2,13/04/2026,02/28/2026\n3,,later\n";
const OPEN: &str = "id,due,seen\n1,13/04/2026,01/02/2026\n2,,03/02/2026\n";
const MIXED: &str = "due\n13/04/2026\n04/13/2026\n";

/// The rows of a file that was uploaded so.
async fn rows(scene: &Scene, query: &str, text: &str) -> Vec<String> {
    let answer = scene.upload(query, &[("a.csv", text.into())]).await;
    scene.taken(answer).await;
    let all: Data<Delivery> = scene.get("/queues/rows/messages?limit=100").await;
    all.data.iter().map(|one| one.data.get().to_owned()).collect()
}

async fn text_stays_text_unless_told(database: TestDatabase) {
    let scene = Scene::new(database).await;
    for query in ["?wait=true", "?wait=true&dates=keep"] {
        let rows = rows(&scene, query, TOLD).await;
        assert_eq!(rows[0], r#"{"id":"1","due":"03/04/2026","paid":"01/02/2026"}"#);
        assert_eq!(rows.len(), 3);
    }
}

async fn an_order_is_told(database: TestDatabase) {
    let scene = Scene::new(database).await;
    assert_eq!(
        rows(&scene, "?wait=true&dates=dmy", TOLD).await,
        [
            r#"{"id":"1","due":"2026-04-03","paid":"2026-02-01"}"#,
            r#"{"id":"3","due":null,"paid":"later"}"#,
        ]
    );
    assert_eq!(
        rows(&scene, "?wait=true&dates=mdy", TOLD).await,
        [
            r#"{"id":"1","due":"2026-03-04","paid":"2026-01-02"}"#,
            r#"{"id":"3","due":null,"paid":"later"}"#,
        ]
    );
    let uploads: Page<Upload> = scene.get("/uploads").await;
    let found: Page<Finding> = scene.get(&uploads.data[0].links.rejects).await;
    assert_eq!((found.data.len(), found.data[0].address.as_str()), (1, "B3"));
    let wrong = problem(scene.upload("?dates=ymd", &[("a.csv", TOLD.into())]).await).await;
    assert!(wrong.status == 422 && wrong.detail.contains("`dates`"), "{wrong:?}");
}

async fn each_column_gives_its_order_away(database: TestDatabase) {
    let scene = Scene::new(database).await;
    assert_eq!(
        rows(&scene, "?wait=true&dates=auto", TOLD).await,
        [
            r#"{"id":"1","due":"2026-04-03","paid":"2026-01-02"}"#,
            r#"{"id":"2","due":"2026-04-13","paid":"2026-02-28"}"#,
            r#"{"id":"3","due":null,"paid":"later"}"#,
        ]
    );
    // By the whole column, however far down the cell is that tells.
    let far: String = (0..3_000).map(|_| "01/02/2026\n").collect();
    let rows = rows(&scene, "?wait=true&dates=auto", &format!("due\n{far}01/13/2026\n")).await;
    assert_eq!(rows[0], r#"{"due":"2026-01-02"}"#);
}

async fn what_cannot_be_told_is_asked_about(database: TestDatabase) {
    let scene = Scene::new(database).await;
    for query in ["?dates=auto", "?dates=auto&dry_run=true"] {
        let refused = problem(scene.upload(query, &[("a.csv", OPEN.into())]).await).await;
        assert_eq!((refused.status, refused.kind.as_str()), (422, "/problems/ambiguous-dates"));
        assert!(refused.detail.contains("`seen`: C2, C3 can be DD/MM or MM/DD"), "{refused:?}");
        assert!(!refused.detail.contains("`due`"), "{refused:?}");
        assert_eq!((refused.row, refused.column.as_deref()), (Some(2), Some("C")));
    }
    let refused = problem(scene.upload("?dates=auto", &[("a.csv", MIXED.into())]).await).await;
    assert!(refused.detail.contains("A2 is a date only with the day first"), "{refused:?}");
    let uploads: Page<Upload> = scene.get("/uploads").await;
    assert!(uploads.data.is_empty(), "{uploads:?}");
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn a_dry_run_shows_the_dates_that_would_be(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let answer = scene.upload("?dry_run=true&dates=auto", &[("a.csv", TOLD.into())]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answers: Data<PreviewAnswer> = answer.json().await.unwrap();
    let Some(PreviewAnswer::Seen(seen)) = answers.data.into_iter().next() else { panic!() };
    let first = &seen.sheets[0].first;
    assert_eq!(first[1].data.get(), r#"{"id":"2","due":"2026-04-13","paid":"2026-02-28"}"#);
    assert!(seen.sheets[0].columns[1].dates.is_some(), "the column is told of as it is");
}

on_both!(
    text_stays_text_unless_told,
    an_order_is_told,
    each_column_gives_its_order_away,
    what_cannot_be_told_is_asked_about,
    a_dry_run_shows_the_dates_that_would_be,
);
