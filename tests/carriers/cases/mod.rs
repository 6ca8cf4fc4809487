//! What every carrier keeps, a file a subject.

pub(crate) mod contents;
pub(crate) mod crowd;
pub(crate) mod dead;
pub(crate) mod death;
pub(crate) mod look;
pub(crate) mod outage;
pub(crate) mod queues;
pub(crate) mod send;
pub(crate) mod settle;
pub(crate) mod take;
pub(crate) mod time;

/// Plays every case on an engine, named by its whole path: a test each.
macro_rules! conformance {
    ($engine:ty) => {
        $crate::cases::conformance! { $engine, shared:
            contents: bytes_are_kept_exactly, attributes_are_kept_exactly,
                odd_attributes_are_kept_or_refused_alone, a_megabyte_is_kept_or_refused_alone;
            crowd: ten_thousand_are_drained_by_four_exactly_once, a_slow_consumer_starves_nobody,
                takers_that_wait_are_in_nobodys_way;
            dead: a_reason_goes_with_the_dead, what_has_no_dead_queue_cannot_die,
                poison_dies_by_the_engines_own_limit;
            death: a_publisher_dies_mid_batch, a_consumer_dies_mid_batch,
                a_send_is_dropped_anywhere, a_take_is_dropped_anywhere;
            look: depth_counts, peek_takes_nothing, purge_leaves_what_is_in_hands,
                redrive_begins_a_new_life;
            outage: connections_are_cut, nobody_listens;
            queues: a_queue_is_made_twice, a_queue_is_changed, a_queue_is_removed,
                a_queue_that_is_not_there, names_of_all_kinds_stay_apart, a_full_queue_takes_no_more;
            send: a_batch_is_answered_in_order, nothing_is_sent;
            settle: acked_never_comes_again, a_delivery_ends_once, released_comes_again_at_once,
                released_comes_again_after_its_delay, attempts_are_counted, extended_stays_in_hands,
                another_process_settles;
            take: never_more_than_asked_for, a_send_wakes_a_taker, an_empty_queue_is_waited_for;
            time: a_deadline_passes, a_late_settle_is_over, told_to_end_sooner_it_does,
                a_delayed_parcel_waits, a_parcel_that_is_due_wakes_a_taker,
                what_waits_too_long_is_dropped;
        }
        $crate::cases::conformance! { $engine, own:
            outage: a_crash_loses_nothing, both_go_on_after_a_restart;
        }
    };
    ($engine:ty, $where:ident: $($module:ident: $($case:ident),+;)+) => {
        mod $where {$(
            mod $module {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    type Engine = $engine;
                    let scene = $crate::scene::Scene::<Engine>::$where().await;
                    $crate::cases::$module::$case(&scene).await;
                    $crate::engine::Engine::tidy(&*scene.engine).await;
                }
            )+}
        )+}
    };
}

pub(crate) use conformance;
