//! What is told, and how often it is looked.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ids(systems: &[SystemId]) -> Vec<i64> {
    systems.iter().map(|system| system.0).collect()
}

#[test]
fn action_is_told_once_and_again_when_its_systems_change() {
    let mut watch = Watch::starting_at(10);
    let now = Instant::now();

    assert_eq!(watch.actions_seen(&[12], now), [12]);
    assert_eq!(ids(&watch.actions_counted(&[12], &[(12, 1), (12, 2)], now)), [1, 2]);
    assert!(watch.actions_seen(&[12], now).is_empty());
    assert_eq!(watch.actions_seen(&[12], now + SECOND), [12]);
    assert!(
        watch
            .actions_counted(&[12], &[(12, 1), (12, 2)], now + SECOND)
            .is_empty()
    );
    let later = now + 3 * SECOND;
    assert_eq!(watch.actions_seen(&[12], later), [12]);
    assert_eq!(
        ids(&watch.actions_counted(&[12], &[(12, 1), (12, 2), (12, 3)], later)),
        [1, 2, 3]
    );
}

#[test]
fn ids_are_asked_for_at_each_look_unless_triggers_say_where() {
    let mut watch = Watch::default();
    let now = Instant::now();

    assert!(watch.wants_ids(true, now), "not asked yet");
    assert!(!watch.wants_ids(true, now));
    assert!(watch.wants_ids(false, now), "nobody said where");
    assert!(!watch.wants_ids(true, now + SECOND / 2));
    assert!(watch.wants_ids(true, now + SECOND));
}

#[test]
fn late_commit_below_the_newest_id_is_seen() {
    let mut watch = Watch::starting_at(10);
    let now = Instant::now();
    watch.actions_seen(&[13], now);
    watch.actions_counted(&[13], &[], now);

    assert_eq!(watch.watermark(), 10);
    assert_eq!(watch.actions_seen(&[12, 13], now), [12]);
    assert!(watch.actions_seen(&[12, 13], now + OVERLAP).is_empty());
    assert_eq!(watch.watermark(), 13);
}

#[test]
fn sweep_goes_round_and_rests() {
    let mut watch = Watch::default();
    let all: Vec<SystemId> = (1..=700).map(SystemId).collect();
    watch.opened(all.into_iter(), &[]);
    let now = Instant::now();

    let first = watch.next_sweep(now);
    assert_eq!(first.len(), SWEEP_BATCH);
    let ended = now + Duration::from_millis(10);
    assert_eq!(ids(&watch.swept(&first, Some(&[(1, 7)]), now, ended)), [1]);
    assert!(watch.next_sweep(ended).is_empty());
    let second = watch.next_sweep(ended + Duration::from_millis(490));
    assert_eq!(second.len(), 200);
    watch.swept(&second, Some(&[]), ended, ended);
    let again = watch.next_sweep(ended);
    assert_eq!(again, first);
    assert_eq!(ids(&watch.swept(&again, Some(&[(1, 8), (2, 5)]), ended, ended)), [1, 2]);
}

#[test]
fn change_since_a_system_was_opened_is_told() {
    let mut watch = Watch::default();
    let systems = [SystemId(1), SystemId(2), SystemId(3)];
    watch.opened(systems.into_iter(), &[(1, 7), (2, 8)]);
    watch.set_connected(SystemId(1), true);

    // What was pending on the second is not any more.
    assert_eq!(ids(&watch.compared(&systems, &[(1, 7)])), [2]);
}

#[test]
fn action_that_comes_and_goes_between_two_comparisons_is_told_twice() {
    let mut watch = Watch::default();
    watch.opened([SystemId(1)].into_iter(), &[]);
    watch.named([SystemId(1), SystemId(2)]);

    assert_eq!(ids(&watch.take_changed()), [1, 2]);
    assert_eq!(ids(&watch.compared(&[SystemId(1)], &[])), [1]);
    assert!(watch.compared(&[SystemId(1)], &[]).is_empty());
}

#[test]
fn sweep_says_nothing_of_what_was_named_since_it_began() {
    let mut watch = Watch::default();
    let now = Instant::now();
    watch.opened([SystemId(1), SystemId(2)].into_iter(), &[]);
    let asked = watch.next_sweep(now);
    assert!(watch.next_sweep(now).is_empty(), "one is under way");
    watch.named([SystemId(1)]);

    assert_eq!(ids(&watch.swept(&asked, Some(&[(2, 5)]), now, now)), [2]);

    // What was named is gone again.
    assert_eq!(ids(&watch.compared(&[SystemId(1)], &[])), [1]);
}

#[test]
fn registration_is_renewed_when_it_was_known() {
    let mut watch = Watch::default();
    watch.set_connected(SystemId(1), true);
    let row = |name: &str| (1, name.to_owned(), "a@b/osad".to_owned());

    assert!(watch.clients_seen(vec![row("old")]).is_empty());
    assert_eq!(ids(&watch.clients_seen(vec![row("new")])), [1]);
    watch.set_connected(SystemId(1), false);
    assert!(watch.clients_seen(vec![row("newer")]).is_empty());
}
