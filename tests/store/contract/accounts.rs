//! Accounts of the embedded server.

use osa::ports::accounts::Account;
use osa::ports::store::{Store, StoreError};

use super::{at, registered};

pub async fn account_is_found_by_its_name(store: &dyn Store) {
    store.create_account("osad-a", "scram", at(1)).await.unwrap();

    let found = store.account("osad-a").await.unwrap();

    let expected = Account {
        username: "osad-a".to_owned(),
        verifiers: "scram".to_owned(),
        created: at(1),
        linked: false,
    };
    assert_eq!(found, Some(expected));
    assert_eq!(store.account("osad-b").await.unwrap(), None);
}

pub async fn name_is_given_once(store: &dyn Store) {
    store.create_account("osad-a", "first", at(1)).await.unwrap();

    let again = store.create_account("osad-a", "second", at(2)).await;

    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    assert_eq!(store.account("osad-a").await.unwrap().unwrap().verifiers, "first");
}

pub async fn account_is_linked_while_a_system_has_its_jid(store: &dyn Store) {
    store.create_account("osad-a", "x", at(0)).await.unwrap();
    store.create_account("osad-ab", "x", at(0)).await.unwrap();

    let system = registered(store, "a").await;

    let linked: Vec<bool> = store.accounts().await.unwrap().iter().map(|a| a.linked).collect();
    assert_eq!(linked, [true, false]);
    store.remove_system(system).await.unwrap();
    assert!(!store.account("osad-a").await.unwrap().unwrap().linked);
}

pub async fn removed_account_is_gone(store: &dyn Store) {
    store.create_account("osad-a", "x", at(0)).await.unwrap();

    assert!(store.remove_account("osad-a").await.unwrap());

    assert!(!store.remove_account("osad-a").await.unwrap());
    assert_eq!(store.account("osad-a").await.unwrap(), None);
}

pub async fn only_old_unlinked_accounts_expire(store: &dyn Store) {
    for (name, secs) in [("osad-linked", 0), ("osad-old", 0), ("osad-young", 10)] {
        store.create_account(name, "x", at(secs)).await.unwrap();
    }
    registered(store, "linked").await;

    let gone = store.expire_accounts(at(10)).await.unwrap();

    let left: Vec<String> = store
        .accounts()
        .await
        .unwrap()
        .into_iter()
        .map(|a| a.username)
        .collect();
    assert_eq!(gone, 1);
    assert_eq!(left, ["osad-linked", "osad-young"]);
}
