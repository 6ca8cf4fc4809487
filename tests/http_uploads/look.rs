//! A look before the leap: `dry_run=true` tells what a file is and leaves nothing behind.

use reqwest::StatusCode;
use rowmill::api::{
    CellKind, Data, DateOrder, HeaderBecause, Page, Preview, PreviewAnswer, Upload,
};

use crate::scene::{Scene, picture, problem, sample};
use crate::support::TestDatabase;

async fn looked(scene: &Scene, query: &str, files: &[(&str, Vec<u8>)]) -> Vec<PreviewAnswer> {
    let answer = scene.upload(query, files).await;
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    answer.json::<Data<PreviewAnswer>>().await.unwrap().data
}

fn seen(answer: PreviewAnswer) -> Preview {
    match answer {
        PreviewAnswer::Seen(preview) => *preview,
        PreviewAnswer::Refused(problem) => panic!("refused: {problem:?}"),
    }
}

async fn a_dry_run_tells_and_leaves_nothing(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let orders = "Orders of May,,\n\
        id,amount,due\n\
        1,2.50,03/04/2026\n\
        2,much,13/04/2026\n\
        ,,\n\
        3,4,05/06/2026\n\
        1,2.50,03/04/2026\n";
    let mut answers = looked(
        &scene,
        "?dry_run=true&header_row=2",
        &[
            ("orders.csv", orders.into()),
            ("cat.xlsx", picture()),
            ("21.xlsx", sample("sample-21-items.xlsx")),
        ],
    )
    .await
    .into_iter();
    let preview = seen(answers.next().unwrap());
    assert_eq!((preview.filename.as_str(), preview.bytes), ("orders.csv", orders.len() as u64));
    let [sheet] = &preview.sheets[..] else { panic!("{preview:?}") };
    assert_eq!((sheet.header_row, sheet.header_because), (2, HeaderBecause::Told));
    assert_eq!((sheet.rows, preview.counts.rows, preview.counts.blank), (4, 4, 1));
    let [id, amount, due] = &sheet.columns[..] else { panic!("{sheet:?}") };
    assert_eq!((id.kind, id.disagreeing), (Some(CellKind::Integer), 0));
    assert_eq!(
        (amount.kind, amount.filled, amount.column.as_str()),
        (Some(CellKind::Number), 4, "B")
    );
    assert_eq!(amount.disagree[0].address, "B4");
    let dates = due.dates.as_ref().unwrap();
    assert_eq!((dates.order, dates.cells), (DateOrder::DayFirst, 4));
    assert_eq!(dates.day_first.as_deref(), Some("C4"));
    assert_eq!((preview.duplicates.rows, preview.duplicates.complete), (1, true));
    let twin = &preview.duplicates.first[0];
    assert_eq!((twin.address.as_str(), twin.first.as_str()), ("7:7", "3:3"));
    assert_eq!(sheet.first[0].data.get(), r#"{"id":"1","amount":"2.50","due":"03/04/2026"}"#);
    assert!(preview.estimate.reading_seconds > 0.0);
    // Nothing was ever worked off.
    assert_eq!(preview.estimate.working_seconds, None);

    assert!(matches!(
        answers.next(),
        Some(PreviewAnswer::Refused(problem))
            if problem.status == 415 && problem.filename.as_deref() == Some("cat.xlsx")
    ));
    let preview = seen(answers.next().unwrap());
    assert!(preview.workbook[0].chosen && !preview.workbook[0].hidden);
    // What is told holds for every file.
    assert_eq!((preview.counts.rows, preview.sheets[0].header_row), (20, 2));

    let uploads: Page<Upload> = scene.get("/uploads").await;
    assert!(uploads.data.is_empty(), "{uploads:?}");
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn a_dry_run_knows_rows_by_their_key(database: TestDatabase) {
    let scene = Scene::new(database).await;
    let file = [("a.csv", b"id,n\nA,1\nB,2\nA,3\n,4\n".to_vec())];
    let preview = seen(looked(&scene, "?dry_run=true&key=id", &file).await.remove(0));
    let duplicates = &preview.duplicates;
    assert_eq!((duplicates.key.as_slice(), duplicates.rows), (&["id".to_owned()][..], 1));
    assert_eq!(duplicates.without_key, 1);
    assert_eq!(preview.sheets[0].header_because, HeaderBecause::FirstFilled);

    let unknown = scene.upload("?dry_run=true&key=Id", &file).await;
    assert_eq!(unknown.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem(unknown).await.detail.contains("named as the key"));
    assert!(scene.spooled().is_empty(), "{:?}", scene.spooled());
}

async fn a_dry_run_guesses_by_the_last_minute(database: TestDatabase) {
    let scene = Scene::new(database).await;
    scene.published("21.xlsx", sample("sample-21-items.xlsx")).await;
    assert_eq!(scene.work("rows", 21).await, 21);
    let preview = seen(
        looked(&scene, "?dry_run=true", &[("21.xlsx", sample("sample-21-items.xlsx"))])
            .await
            .remove(0),
    );
    let seconds = preview.estimate.working_seconds.unwrap();
    // 21 rows ended within a minute, so as many take a minute at most.
    assert!(seconds > 0.0 && seconds <= 61.0, "{seconds}");
}

on_both!(
    a_dry_run_tells_and_leaves_nothing,
    a_dry_run_knows_rows_by_their_key,
    a_dry_run_guesses_by_the_last_minute,
);
