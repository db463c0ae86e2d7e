//! Registrations: compatibility contract, sections 2.4 to 2.6.

use osa::domain::ids::{ClientName, SystemId};
use osa::domain::push::request::Step;
use osa::domain::secret::Secret;
use osa::ports::push::CLAIMANTS_MAX;
use osa::ports::store::{Store, StoreError};

use super::{at, jid, record, registered};

pub async fn secret_is_that_of_the_system(store: &dyn Store) {
    let system = store.add_system("a", &Secret::new("topsecret"), at(0)).await.unwrap();

    assert_eq!(
        store.system_secret(system).await.unwrap(),
        Some(Secret::new("topsecret"))
    );
    assert_eq!(store.system_secret(SystemId(system.0 + 1)).await.unwrap(), None);
}

pub async fn unknown_system_cannot_register(store: &dyn Store) {
    let unknown = SystemId(99);

    let checked_in = store.check_in(unknown, at(0)).await;
    let registered = store
        .register_osad(unknown, &ClientName("c".to_owned()), &Secret::new("k"), at(0))
        .await;

    assert!(matches!(checked_in, Err(StoreError::NotFound { .. })), "{checked_in:?}");
    assert!(matches!(registered, Err(StoreError::NotFound { .. })), "{registered:?}");
}

pub async fn registration_rotates_name_and_key_and_keeps_the_jid(store: &dyn Store) {
    let system = registered(store, "a").await;
    store.check_in(system, at(1)).await.unwrap();
    store.check_in(system, at(2)).await.unwrap();
    record(store, system, 1, [Step::Online(true), Step::Heard]).await;
    let new_name = ClientName("new".to_owned());

    store
        .register_osad(system, &new_name, &Secret::new("new key"), at(2))
        .await
        .unwrap();

    let client = store.client_of_system(system).await.unwrap().unwrap();
    assert_eq!((client.name, client.shared_key), (new_name, Secret::new("new key")));
    assert_eq!(client.jid, jid("a"));
    let row = store.system_by_name("a").await.unwrap().unwrap();
    assert!(!row.online);
    assert_eq!(row.last_message, Some(at(1)));
    let old = store.client_by_name(&ClientName("client-a".to_owned())).await.unwrap();
    assert_eq!(old, None);
}

async fn claimants(store: &dyn Store, name: &str) -> Vec<SystemId> {
    let clients = store.clients_by_jid(&jid(name)).await.unwrap();
    clients.into_iter().map(|client| client.system).collect()
}

pub async fn claim_takes_no_jid_from_a_living_system(store: &dyn Store) {
    let living = registered(store, "living").await;
    record(store, living, 3, [Step::Heard]).await;
    let stranger = registered(store, "stranger").await;
    record(store, stranger, 4, [Step::Heard]).await;

    store.register_osad_jid(stranger, &jid("living"), at(5)).await.unwrap();

    assert_eq!(claimants(store, "living").await, [living, stranger]);
    assert_eq!(claimants(store, "stranger").await, []);
    let client = store.client_of_system(living).await.unwrap().unwrap();
    assert_eq!(client.jid, jid("living"));
    let name = ClientName("rotated".to_owned());
    store
        .register_osad(living, &name, &Secret::new("k"), at(6))
        .await
        .unwrap();
    store.register_osad_jid(living, &jid("living"), at(6)).await.unwrap();
    store.register_osad_jid(stranger, &jid("living"), at(7)).await.unwrap();
    assert_eq!(
        claimants(store, "living").await,
        [living, stranger],
        "nor when its agent starts anew"
    );
}

pub async fn claimant_that_signs_comes_first(store: &dyn Store) {
    let old = registered(store, "old").await;
    record(store, old, 3, [Step::Heard]).await;
    let new = registered(store, "new").await;
    store.register_osad_jid(new, &jid("old"), at(5)).await.unwrap();

    record(store, new, 6, [Step::Heard]).await;

    assert_eq!(claimants(store, "old").await, [new, old]);
}

/// Name and owner of each system's JID, as lists show them.
async fn owners(store: &dyn Store) -> Vec<(String, Option<String>)> {
    let systems = store.systems().await.unwrap();
    for system in &systems {
        let alone = store.system_by_name(&system.name).await.unwrap();
        assert_eq!(alone.as_ref(), Some(system), "alone it is the same");
    }
    systems
        .into_iter()
        .map(|system| (system.name, system.jid_owner))
        .collect()
}

pub async fn jid_is_shown_as_that_of_whoever_signed_with_it(store: &dyn Store) {
    let a = registered(store, "a").await;
    let b = registered(store, "b").await;
    let owned = |a: Option<&str>, b: Option<&str>| {
        let owner = |name: &str, owner: Option<&str>| (name.to_owned(), owner.map(str::to_owned));
        [owner("a", a), owner("b", b)]
    };
    assert_eq!(owners(store).await, owned(None, None));

    store.register_osad_jid(b, &jid("a"), at(5)).await.unwrap();
    assert_eq!(owners(store).await, owned(None, None), "nobody has shown anything");
    record(store, a, 6, [Step::Heard]).await;
    assert_eq!(owners(store).await, owned(None, Some("a")));
    record(store, b, 7, [Step::Heard]).await;
    assert_eq!(owners(store).await, owned(Some("b"), None), "registered anew");
}

pub async fn of_claimants_that_never_signed_the_newest_comes_first(store: &dyn Store) {
    let old = registered(store, "old").await;
    let new = registered(store, "new").await;
    store.register_osad_jid(new, &jid("old"), at(5)).await.unwrap();

    assert_eq!(claimants(store, "old").await, [new, old]);
}

pub async fn claimants_are_bounded(store: &dyn Store) {
    for number in 0..=CLAIMANTS_MAX {
        let system = registered(store, &number.to_string()).await;
        store.register_osad_jid(system, &jid("one"), at(5)).await.unwrap();
    }

    assert_eq!(claimants(store, "one").await.len(), CLAIMANTS_MAX);
}

pub async fn jid_without_registration_is_refused(store: &dyn Store) {
    let system = store.add_system("a", &Secret::new("s"), at(0)).await.unwrap();

    let refused = store.register_osad_jid(system, "a@b/osad", at(0)).await;

    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
}

pub async fn registration_without_jid_is_no_client(store: &dyn Store) {
    let system = store.add_system("a", &Secret::new("s"), at(0)).await.unwrap();
    let name = ClientName("c".to_owned());

    store
        .register_osad(system, &name, &Secret::new("k"), at(0))
        .await
        .unwrap();

    assert_eq!(store.client_by_name(&name).await.unwrap(), None);
}
