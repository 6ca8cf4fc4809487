//! What is in a parcel comes out of it, byte for byte.

use std::collections::BTreeMap;

use bytes::Bytes;
use rowmill::broker::carrier::{Carrier, CarrierError, Failed, Parcel};

use crate::engine::Engine;
use crate::scene::{Scene, assert_intact, drain, parcel, send};

fn with_data(n: usize, data: impl Into<String>) -> Parcel {
    Parcel { data: Bytes::from(data.into()), ..parcel(n) }
}

fn with_attributes<const N: usize>(n: usize, attributes: [(&str, &str); N]) -> Parcel {
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Parcel { attributes: attributes.into(), ..parcel(n) }
}

/// Sends, drains, and sees that all came out as they went in.
async fn assert_all_kept<E: Engine>(scene: &Scene<E>, name: &str, sent: Vec<Parcel>) {
    let queue = scene.queue(name).await;
    send(&*scene.carrier, &queue, sent.clone()).await;
    let mut taken = drain(&*scene.carrier, &queue).await;
    assert_eq!(taken.len(), sent.len());
    for sent in &sent {
        let at = taken.iter().position(|taken| taken.id.as_ref() == Some(&sent.id)).unwrap();
        assert_intact(&taken.swap_remove(at), sent);
    }
}

pub(crate) async fn bytes_are_kept_exactly<E: Engine>(scene: &Scene<E>) {
    let texts = [
        "{}".to_owned(),
        r#"{"b":1,"a":2}"#.to_owned(),
        "{ \"spaces\" :\t1,\r\n\"lines\":\n[ ] }".to_owned(),
        r#"{"number":1.0e5,"long":123456789012345678901234567890.10,"minus":-0.0}"#.to_owned(),
        r#"{"escapes":"\u00e9\u0000\ud83d\ude00\/\"\\\b\f\n\r\t"}"#.to_owned(),
        r#"{"text":"Grüße, 你好, привет, 🌾 and é"}"#.to_owned(),
        r#"{"markup":"<a href='x'>&amp;</a>","percent":"%20+%","template":"${x} {{y}}"}"#
            .to_owned(),
        "{\"signs\":\"\u{7f}\u{85}\u{a0}\u{2028}\u{feff}\u{200b}\u{e000}\u{10ffff}\"}".to_owned(),
        format!(r#"{{"long":"{}"}}"#, "0123456789é".repeat(4_000)),
    ];
    let sent = texts.into_iter().enumerate().map(|(n, text)| with_data(n, text)).collect();
    assert_all_kept(scene, "bytes", sent).await;
}

pub(crate) async fn attributes_are_kept_exactly<E: Engine>(scene: &Scene<E>) {
    let sent = vec![
        with_attributes(0, []),
        // What an upload sets.
        with_attributes(
            1,
            [
                ("upload_id", "0a1b2c3d-0000-4000-8000-000000000000"),
                ("filename", "Orders, März.xlsx"),
                ("sheet", "Sheet 1"),
                ("row", "17"),
            ],
        ),
        with_attributes(2, [("with.dots", "1"), ("with-dashes", "2"), ("a.b-c_d", "3")]),
        with_attributes(3, [("UPPER", "1"), ("upper", "2"), ("x9", "3"), ("9x", "4")]),
        // Names that an engine, or a driver, has for purposes of its own.
        with_attributes(4, [("id", "1"), ("data", "2"), ("attributes", "3"), ("delay", "4")]),
        with_attributes(5, [("attempt", "1"), ("reason", "2"), ("content-type", "3")]),
        with_attributes(
            6,
            [
                ("text", "Grüße, 你好 🌾"),
                ("lines", "one\ntwo\r\n\tthree"),
                ("json", r#"{"a":[1,"\u0000"]}"#),
                ("spaces", "  both ends  "),
                ("number", "007"),
            ],
        ),
        with_attributes(7, [("long", &"value ".repeat(500))]),
    ];
    assert_all_kept(scene, "attributes", sent).await;
}

pub(crate) async fn odd_attributes_are_kept_or_refused_alone<E: Engine>(scene: &Scene<E>) {
    let many: BTreeMap<_, _> = (0..40).map(|n| (format!("column_{n}"), n.to_string())).collect();
    let long = "n".repeat(300);
    let odd = vec![
        with_attributes(0, [("empty", "")]),
        with_attributes(2, [("", "no name")]),
        with_attributes(4, [("with space", "1"), ("naïve 🌾", "2"), ("a/b:c=d&e", "3")]),
        with_attributes(6, [(&long, "a long name")]),
        Parcel { attributes: many, ..parcel(8) },
        with_attributes(10, [("x-death", "1"), ("x-delivery-count", "2"), ("CC", "3")]),
        with_attributes(12, [("aws.x", "1"), ("Amazon.y", "2"), (".", "3"), ("a..b", "4")]),
        with_attributes(14, [("attr:x", "1"), ("attr:", "2"), ("control", "\u{1}\u{1f}")]),
    ];
    let queue = scene.queue("odd").await;
    let count = odd.len();
    let batch: Vec<_> =
        odd.into_iter().zip(0..).flat_map(|(p, n)| [p, parcel(2 * n + 1)]).collect();
    let answers = scene.carrier.send(&queue, batch.clone()).await.unwrap();
    assert_eq!(answers.len(), 2 * count);
    let mut taken = drain(&*scene.carrier, &queue).await;
    for (sent, answer) in batch.iter().zip(&answers) {
        let neighbour = sent.attributes.contains_key("filename");
        match answer {
            Ok(()) => {
                let at = taken.iter().position(|taken| taken.id.as_ref() == Some(&sent.id));
                assert_intact(&taken.swap_remove(at.expect(&sent.id)), sent);
            }
            Err(Failed::Refused(why)) => {
                assert!(!neighbour, "a neighbour was refused: {why}");
                assert!(!why.is_empty());
            }
            Err(failed) => panic!("{}: {failed}", sent.id),
        }
    }
    assert_eq!(taken, vec![], "what was refused came all the same");
}

pub(crate) async fn a_megabyte_is_kept_or_refused_alone<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("large").await;
    let most = scene.carrier.abilities().parcel_bytes;
    let large = |n, bytes: usize| {
        with_data(n, format!(r#"{{"blob":"{}"}}"#, "x".repeat(bytes - r#"{"blob":""}"#.len())))
    };
    let batch = vec![parcel(0), large(1, 1 << 20), parcel(2), large(3, 100 << 10), parcel(4)];
    let answers = scene.carrier.send(&queue, batch.clone()).await.unwrap();
    let fits = most >= (1 << 20) + 200;
    for (n, answer) in answers.iter().enumerate() {
        if n == 1 && !fits {
            let refused = matches!(answer, Err(Failed::Refused(why)) if !why.is_empty());
            assert!(refused, "{most} bytes are most, and yet {answer:?}");
        } else {
            assert_eq!(answer, &Ok(()), "parcel {n}");
        }
    }
    let mut taken = drain(&*scene.carrier, &queue).await;
    taken.sort_by_key(|taken| taken.id.clone());
    let came: Vec<_> = batch.iter().enumerate().filter(|(n, _)| *n != 1 || fits).collect();
    assert_eq!(taken.len(), came.len());
    for (taken, (_, sent)) in taken.iter().zip(came) {
        assert_intact(taken, sent);
    }
    // Many large ones together are more than an engine takes in one request.
    let many: Vec<_> = (0..12).map(|n| large(n, 200 << 10)).collect();
    send(&*scene.carrier, &queue, many).await;
    assert_eq!(drain(&*scene.carrier, &queue).await.len(), 12);
    // A call that is refused as a whole is no answer for its neighbours.
    if most < 64 << 20 {
        let answers = scene.carrier.send(&queue, vec![parcel(0), large(1, most + 1)]).await;
        let refused = |answers: &[Result<(), Failed>]| {
            answers[0] == Ok(()) && matches!(answers[1], Err(Failed::Refused(_)))
        };
        let is_so = matches!(&answers, Ok::<_, CarrierError>(answers) if refused(answers));
        assert!(is_so, "one byte more than {most}: {answers:?}");
    }
}
