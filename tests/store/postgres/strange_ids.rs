//! Rows whose `NUMERIC` ids are no `BIGINT`: they are left out, and no other is.

use osa::domain::ids::{ActionId, ClientName};
use osa::domain::push::request::Step;
use osa::ports::inventory::{ActionFilter, Inventory};
use osa::ports::push::PushStore;
use osa::store::postgres::PostgresStore;

use super::site::Site;
use crate::contract::{answered, at, jid, push_record, record, registered, scheduled};

/// The largest `BIGINT` and one; far more; neither more nor less.
const STRANGE: [&str; 3] = ["9223372036854775808", "1e30", "'NaN'"];

/// Systems, registrations and actions with such ids, everything of them assigned to everything; their registrations have this
/// JID.
async fn make_strange(site: &Site, jid: &str) {
    for id in STRANGE {
        let name = id.trim_matches('\'');
        let text = format!(
            "INSERT INTO rhnServer (id, digital_server_id, secret, name) VALUES ({id}, 'ID-{name}', '', '{name}'); \
             INSERT INTO rhnPushClient (id, name, server_id, jabber_id, shared_key, state_id) \
               SELECT {id}, 'client-{name}', {id}, '{jid}', '', id FROM rhnPushClientState WHERE label = 'online'; \
             INSERT INTO rhnAction (id, action_type, name, earliest_action) VALUES ({id}, 30, '{name}', now()); \
             INSERT INTO rhnServerAction (server_id, action_id, status) SELECT s.id, a.id, 0 FROM rhnServer s, rhnAction a \
               WHERE NOT EXISTS (SELECT 1 FROM rhnServerAction sa WHERE sa.server_id = s.id AND sa.action_id = a.id)"
        );
        site.satellite.run(&text).await;
    }
}

#[tokio::test]
async fn they_keep_nobody_from_being_pushed() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let first = scheduled(&site, &[system], "first").await;
    make_strange(&site, &jid("a")).await;
    // A dispatcher that meets them at its start.
    let store = PostgresStore::open(&site.options).await.unwrap();

    store.start_node("one", at(0)).await.unwrap();

    let client = store.clients_by_jid(&jid("a")).await.unwrap();
    assert_eq!(client.iter().map(|client| client.system).collect::<Vec<_>>(), [system]);
    assert_eq!(push_record(&site, system).await.open, []);
    record(&site, system, 1, [Step::Online(true)]).await;
    store
        .record(&[super::step(system, 1, Step::Online(true))])
        .await
        .unwrap();
    store.settle_presence(&[(system, true)], at(2)).await.unwrap();
    assert_eq!(site.satellite.state(system).await, "online");
    let second = scheduled(&site, &[system], "second").await;
    make_more(&site, second).await;
    let changes = store.changed_systems().await.unwrap();
    assert_eq!(changes.systems, [system]);
    let work = store.work(&[system]).await.unwrap();
    let due: Vec<_> = work[0].actions.iter().map(|action| action.id).collect();
    assert_eq!(due, [first, second]);
    answered(&site, system, 1, 2).await;
    store.prune(at(200)).await.unwrap();
}

/// A new action for those systems as well.
async fn make_more(site: &Site, action: ActionId) {
    let text = format!(
        "INSERT INTO rhnServerAction (server_id, action_id, status) \
         SELECT id, {action}, 0 FROM rhnServer WHERE id > 9223372036854775807"
    );
    site.satellite.run(&text).await;
}

#[tokio::test]
async fn they_keep_nobody_from_being_shown() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    make_strange(&site, "strange@b/osad").await;
    site.satellite
        .run("UPDATE rhnServerAction SET remaining_tries = 'NaN'")
        .await;

    let systems = site.systems().await.unwrap();
    assert_eq!(systems.iter().map(|row| row.id).collect::<Vec<_>>(), [system]);
    assert!(site.system_by_name("NaN").await.unwrap().is_none());
    let all = ActionFilter {
        limit: 100,
        ..ActionFilter::default()
    };
    let actions = site.actions(&all).await.unwrap();
    let shown: Vec<_> = actions.iter().map(|row| (row.id, row.remaining_tries)).collect();
    assert_eq!(shown, [(action, 0)]);
    site.explain(system).await.unwrap();
    let name = ClientName("client-NaN".to_owned());
    assert!(site.client_by_name(&name).await.unwrap().is_none());
}
