//! Sending.

use rowmill::broker::carrier::{Carrier, Failed, Parcel};

use crate::engine::Engine;
use crate::scene::{Scene, assert_intact, counted, drain, parcel, parcels};

pub(crate) async fn a_batch_is_answered_in_order<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("batch").await;
    let most = scene.carrier.abilities().parcel_bytes;
    let too_big = |n: usize| n % 100 == 37;
    // A refusal shows which answer is whose; where nothing is too big to try, none is expected.
    let refuses = most < 64 << 20;
    let big = bytes::Bytes::from(format!("\"{}\"", "x".repeat(if refuses { most } else { 0 })));
    let sent: Vec<Parcel> = (0..700)
        .map(|n| match parcel(n) {
            parcel if refuses && too_big(n) => Parcel { data: big.clone(), ..parcel },
            parcel => parcel,
        })
        .collect();
    let answers = scene.carrier.send(&queue, sent).await.unwrap();
    assert_eq!(answers.len(), 700);
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Err(Failed::Refused(why)) => {
                assert!(refuses && too_big(n), "parcel {n} was refused: {why}");
                assert!(!why.is_empty());
            }
            answer => {
                assert_eq!(answer, &Ok(()), "parcel {n}");
                assert!(!refuses || !too_big(n), "parcel {n} is larger than the engine takes");
            }
        }
    }
    let taken = drain(&*scene.carrier, &queue).await;
    assert_eq!(taken.len(), if refuses { 693 } else { 700 });
    assert!(counted(&taken).values().all(|n| *n == 1));
    let all = parcels(700);
    for taken in &taken {
        let sent = all.iter().find(|sent| Some(&sent.id) == taken.id.as_ref()).unwrap();
        assert_intact(taken, sent);
        assert_eq!(taken.attempt, 1);
    }
}

pub(crate) async fn nothing_is_sent<E: Engine>(scene: &Scene<E>) {
    let queue = scene.queue("nothing").await;
    assert_eq!(scene.carrier.send(&queue, vec![]).await.unwrap(), vec![]);
    assert_eq!(scene.carrier.ack(&queue, vec![]).await.unwrap(), vec![]);
    assert_eq!(scene.carrier.release(&queue, vec![]).await.unwrap(), vec![]);
    assert_eq!(drain(&*scene.carrier, &queue).await, vec![]);
}
