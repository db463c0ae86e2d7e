//! What every database must do, as functions of `&dyn Store`.

pub mod accounts;
pub mod claims;
pub mod inventory;
pub mod nodes;
pub mod records;
pub mod registrations;
pub mod results;
pub mod steps;

use std::time::Duration;

use osa::domain::ids::{ActionId, ClientName, RequestNumber, RunId, SystemId};
use osa::domain::push::action::{CoveredAction, PendingAction};
use osa::domain::push::client::{RunEnd, RunReport, RunStart};
use osa::domain::push::request::{Claim, ClaimOutcome, Entry, PushRecord, Step};
use osa::domain::secret::Secret;
use osa::domain::time::Timestamp;
use osa::ports::inventory::{ActionFilter, ActionRow, NewAction};
use osa::ports::store::Store;

/// A database made for one test.
pub trait Fixture {
    fn store(&self) -> &dyn Store;
}

/// Seconds after the tests' beginning.
pub const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_000 + secs)
}

pub const fn number(value: i64) -> RequestNumber {
    RequestNumber(value)
}

pub const fn run_id(value: u8) -> RunId {
    RunId([value; 16])
}

pub const fn run_start(run: u8, covers: i64) -> RunStart {
    RunStart {
        run: run_id(run),
        covers: number(covers),
    }
}

pub const fn report(run: u8, covers: i64, end: RunEnd) -> Step {
    Step::Finished(RunReport {
        run: run_id(run),
        covers: number(covers),
        end,
        run_time: Duration::from_millis(1_500),
    })
}

/// A system whose agent has registered name, key and JID.
pub async fn registered(store: &dyn Store, name: &str) -> SystemId {
    let system = store
        .add_system(name, &Secret::new("s".repeat(64)), at(0))
        .await
        .unwrap();
    let client = ClientName(format!("client-{name}"));
    store
        .register_osad(system, &client, &Secret::new("key"), at(0))
        .await
        .unwrap();
    store.register_osad_jid(system, &jid(name), at(0)).await.unwrap();
    system
}

pub fn jid(name: &str) -> String {
    format!("osad-{name}@dispatcher.example/osad")
}

pub async fn scheduled(store: &dyn Store, systems: &[SystemId], name: &str) -> ActionId {
    behind(store, systems, name, None).await
}

pub async fn behind(store: &dyn Store, systems: &[SystemId], name: &str, prerequisite: Option<ActionId>) -> ActionId {
    let action = NewAction {
        name: name.to_owned(),
        systems: systems.to_vec(),
        earliest: at(0),
        prerequisite,
    };
    store.schedule(&action, at(0)).await.unwrap()
}

pub async fn pending(store: &dyn Store, system: SystemId) -> Vec<PendingAction> {
    store.work(&[system]).await.unwrap().remove(0).actions
}

/// Everything pending, as a claim covers it.
pub async fn due(store: &dyn Store, system: SystemId) -> Vec<CoveredAction> {
    let covered = |action: PendingAction| CoveredAction {
        action: action.id,
        version: action.version,
    };
    pending(store, system).await.into_iter().map(covered).collect()
}

/// Claims everything pending at second `now`, with a lease of 60 s.
pub async fn claim(store: &dyn Store, system: SystemId, request: i64, now: i64) -> ClaimOutcome {
    let claim = Claim {
        system,
        number: number(request),
        covers: due(store, system).await,
    };
    let outcomes = store.claim(&[claim], at(now + 60), at(now)).await;
    outcomes.unwrap().remove(0)
}

pub async fn granted(store: &dyn Store, system: SystemId, request: i64, now: i64) {
    let outcome = claim(store, system, request, now).await;
    assert!(matches!(outcome, ClaimOutcome::Granted(_)), "{outcome:?}");
}

/// A claim of everything pending that was sent and answered by a new agent.
pub async fn answered(store: &dyn Store, system: SystemId, request: i64, now: i64) {
    granted(store, system, request, now).await;
    let steps = [Step::Sent(number(request)), Step::Answered(number(request))];
    record(store, system, now, steps).await;
}

pub async fn record(store: &dyn Store, system: SystemId, now: i64, steps: impl IntoIterator<Item = Step>) {
    let entry = |step| Entry {
        system,
        at: at(now),
        step,
    };
    let entries: Vec<Entry> = steps.into_iter().map(entry).collect();
    store.record(&entries).await.unwrap();
}

pub async fn push_record(store: &dyn Store, system: SystemId) -> PushRecord {
    store.push_records(&[system]).await.unwrap().remove(0).0
}

pub async fn row(store: &dyn Store, action: ActionId, system: SystemId) -> ActionRow {
    let filter = ActionFilter {
        system: Some(system),
        ids: vec![action],
        limit: 2,
        ..ActionFilter::default()
    };
    let mut rows = store.actions(&filter).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// Makes one test of each contract for the database that `$new` makes, where the dispatcher owns systems and actions.
macro_rules! standalone_suite {
    ($new:path) => {
        $crate::contract::contract_tests! { $new;
            accounts {
                account_is_found_by_its_name
                name_is_given_once
                account_is_linked_while_a_system_has_its_jid
                removed_account_is_gone
                only_old_unlinked_accounts_expire
            }
            registrations {
                secret_is_that_of_the_system
                unknown_system_cannot_register
                registration_rotates_name_and_key_and_keeps_the_jid
                claim_takes_no_jid_from_a_living_system
                claimant_that_signs_comes_first
                jid_is_shown_as_that_of_whoever_signed_with_it
                of_claimants_that_never_signed_the_newest_comes_first
                claimants_are_bounded
                jid_without_registration_is_refused
                registration_without_jid_is_no_client
            }
            inventory {
                system_name_is_given_once
                systems_are_listed_by_name_with_what_is_pending
                removed_system_leaves_nothing
                ids_are_not_given_twice
                action_is_scheduled_for_all_or_none
                unknown_prerequisite_is_refused
                action_behind_a_failed_one_fails_at_once
                rescheduled_action_is_pending_at_a_new_version
                pending_action_is_not_rescheduled
                cancelled_action_takes_its_dependents_along
                actions_are_filtered_and_newest_first
                explanation_tells_the_requests
                completed_action_shows_the_request_that_completed_it
            }
            claims {
                granted_claim_returns_what_to_sign_with
                live_lease_refuses_the_next_claim
                lapsed_lease_makes_room
                number_is_given_once
                system_without_registration_is_gone
                one_of_many_concurrent_claims_is_granted
                outcomes_come_in_the_order_of_claims
            }
            steps {
                request_goes_through_its_states
                late_and_repeated_steps_change_nothing
                lost_request_makes_room_for_the_next
                refused_and_received_requests_have_ended
                pause_is_kept_until_it_is_ended
                announcement_holds_for_the_present_name
                online_and_heard_are_shown
                presence_is_settled
                batch_is_applied_as_a_whole
                steps_of_unknown_systems_change_nothing
            }
            results {
                answer_picks_queued_actions_up
                existing_agents_receipt_leaves_actions_alone
                success_completes_what_was_covered
                report_counts_once
                run_id_of_one_system_is_not_anothers
                failure_costs_one_try_and_the_last_fails
                one_run_costs_one_try_however_many_requests
                lost_run_costs_a_try
                failed_action_fails_its_dependents
                other_version_is_left_alone
                postponed_action_is_left_alone
                report_finishes_lost_requests
                report_leaves_later_requests_open
                delivered_actions_are_completed
            }
            records {
                work_is_ordered_and_leaves_out_what_must_wait
                prerequisite_of_another_system_does_not_hold_back
                last_change_follows_the_actions
                changes_are_told_once
                own_progress_is_not_told
                progress_that_frees_a_dependent_is_told
                records_cover_what_was_answered
                unknown_systems_are_left_out
                prune_removes_what_is_old_and_settled
            }
            nodes {
                incarnation_grows
                start_voids_what_was_on_its_way
                start_makes_everybody_offline
                numbers_are_not_given_again_after_a_start
                numbers_of_a_new_system_follow_each_other
            }
        }
    };
}
pub(crate) use standalone_suite;

/// The same where a Satellite owns systems and actions, which the fixture plays. What the dispatcher does to action rows
/// and what it tells of its own changes is left out; what holds there instead is tested beside the database.
macro_rules! satellite_suite {
    ($new:path) => {
        $crate::contract::contract_tests! { $new;
            accounts {
                account_is_found_by_its_name
                name_is_given_once
                account_is_linked_while_a_system_has_its_jid
                removed_account_is_gone
                only_old_unlinked_accounts_expire
            }
            registrations {
                registration_rotates_name_and_key_and_keeps_the_jid
                registration_without_jid_is_no_client
            }
            inventory {
                systems_are_listed_by_name_with_what_is_pending
                removed_system_leaves_nothing
                ids_are_not_given_twice
                explanation_tells_the_requests
            }
            claims {
                granted_claim_returns_what_to_sign_with
                live_lease_refuses_the_next_claim
                lapsed_lease_makes_room
                number_is_given_once
                system_without_registration_is_gone
                one_of_many_concurrent_claims_is_granted
                outcomes_come_in_the_order_of_claims
            }
            steps {
                request_goes_through_its_states
                late_and_repeated_steps_change_nothing
                lost_request_makes_room_for_the_next
                refused_and_received_requests_have_ended
                pause_is_kept_until_it_is_ended
                announcement_holds_for_the_present_name
                online_and_heard_are_shown
                presence_is_settled
                batch_is_applied_as_a_whole
                steps_of_unknown_systems_change_nothing
            }
            records {
                prerequisite_of_another_system_does_not_hold_back
                unknown_systems_are_left_out
            }
            nodes {
                incarnation_grows
                start_voids_what_was_on_its_way
                start_makes_everybody_offline
                numbers_are_not_given_again_after_a_start
                numbers_of_a_new_system_follow_each_other
            }
        }
    };
}
pub(crate) use satellite_suite;

macro_rules! contract_tests {
    ($new:path; $($module:ident { $($case:ident)* })*) => {$(
        mod $module {
            $(
                #[tokio::test]
                async fn $case() {
                    let fixture = $new().await;
                    $crate::contract::$module::$case($crate::contract::Fixture::store(&fixture)).await;
                }
            )*
        }
    )*};
}
pub(crate) use contract_tests;
