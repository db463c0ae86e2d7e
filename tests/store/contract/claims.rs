//! Claims under "no live lease".

use futures_util::future::join_all;
use osa::domain::ids::{ClientName, SystemId};
use osa::domain::push::request::{Claim, ClaimOutcome, RequestState, Step};
use osa::domain::secret::Secret;
use osa::ports::store::Store;

use super::{at, claim, due, granted, jid, number, push_record, record, registered, scheduled};

pub async fn granted_claim_returns_what_to_sign_with(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "one").await;
    let covers = due(store, system).await;

    let ClaimOutcome::Granted(client) = claim(store, system, 1, 5).await else {
        panic!("not granted");
    };

    assert_eq!(client.system, system);
    assert_eq!(client.name, ClientName("client-a".to_owned()));
    assert_eq!(client.shared_key, Secret::new("key"));
    assert_eq!(client.jid, jid("a"));
    assert!(!client.announced);
    let record = push_record(store, system).await;
    assert_eq!(record.last_number, number(1));
    let [request] = record.open.as_slice() else {
        panic!("{record:?}");
    };
    assert_eq!((request.state, request.since), (RequestState::Claimed, at(5)));
    assert_eq!(request.covers, covers);
}

pub async fn live_lease_refuses_the_next_claim(store: &dyn Store) {
    let system = registered(store, "a").await;
    granted(store, system, 1, 0).await;

    assert_eq!(claim(store, system, 2, 59).await, ClaimOutcome::Refused);
    record(store, system, 1, [Step::Sent(number(1))]).await;
    assert_eq!(claim(store, system, 2, 59).await, ClaimOutcome::Refused);
}

pub async fn lapsed_lease_makes_room(store: &dyn Store) {
    let system = registered(store, "a").await;
    granted(store, system, 1, 0).await;

    granted(store, system, 2, 60).await;

    let open = push_record(store, system).await.open;
    assert_eq!(
        open.iter().map(|request| request.number).collect::<Vec<_>>(),
        [number(2)]
    );
}

pub async fn number_is_given_once(store: &dyn Store) {
    let system = registered(store, "a").await;
    granted(store, system, 2, 0).await;

    assert_eq!(claim(store, system, 2, 100).await, ClaimOutcome::Refused);
    assert_eq!(claim(store, system, 1, 100).await, ClaimOutcome::Refused);
    granted(store, system, 4, 100).await;
}

pub async fn system_without_registration_is_gone(store: &dyn Store) {
    let system = store.add_system("a", &Secret::new("s"), at(0)).await.unwrap();

    assert_eq!(claim(store, system, 1, 0).await, ClaimOutcome::Gone);
    let removed = Claim {
        system: SystemId(99),
        number: number(1),
        covers: Vec::new(),
    };
    let outcomes = store.claim(&[removed], at(60), at(0)).await.unwrap();
    assert_eq!(outcomes, [ClaimOutcome::Gone]);
}

pub async fn one_of_many_concurrent_claims_is_granted(store: &dyn Store) {
    let system = registered(store, "a").await;
    scheduled(store, &[system], "one").await;

    let outcomes = join_all((1..=20).map(|request| claim(store, system, request, 0))).await;

    let granted = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, ClaimOutcome::Granted(_)));
    assert_eq!(granted.count(), 1);
    assert_eq!(push_record(store, system).await.open.len(), 1);
}

pub async fn outcomes_come_in_the_order_of_claims(store: &dyn Store) {
    let busy = registered(store, "busy").await;
    let free = registered(store, "free").await;
    granted(store, busy, 1, 0).await;
    let made = |system, request| Claim {
        system,
        number: number(request),
        covers: Vec::new(),
    };

    let claims = [made(busy, 2), made(SystemId(99), 1), made(free, 1), made(free, 2)];
    let outcomes = store.claim(&claims, at(70), at(10)).await.unwrap();

    let [
        ClaimOutcome::Refused,
        ClaimOutcome::Gone,
        ClaimOutcome::Granted(client),
        ClaimOutcome::Refused,
    ] = outcomes.as_slice()
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!(client.system, free);
}
