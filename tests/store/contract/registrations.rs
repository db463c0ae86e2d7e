//! Registrations: compatibility contract, sections 2.4 to 2.6.

use osa::domain::ids::{ClientName, SystemId};
use osa::domain::push::request::Step;
use osa::domain::secret::Secret;
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

pub async fn jid_is_taken_from_other_systems(store: &dyn Store) {
    let old = registered(store, "old").await;
    let new = registered(store, "new").await;

    store.register_osad_jid(new, &jid("old"), at(5)).await.unwrap();

    assert_eq!(store.client_of_system(old).await.unwrap(), None);
    let owner = store.client_by_jid(&jid("old")).await.unwrap().unwrap();
    assert_eq!(owner.system, new);
    assert_eq!(store.client_by_jid(&jid("new")).await.unwrap(), None);
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
