//! Names in a database that checks no encoding, as sites have that were moved from older ones.

use osa::domain::ids::SystemId;
use osa::ports::inventory::{ActionFilter, Inventory};
use osa::ports::push::PushStore;
use osa::store::postgres::administration;

use super::cluster::Database;
use super::site::Site;
use crate::contract::{at, registered, scheduled};

async fn unchecked_site() -> Site {
    let database = Database::empty(&["-T", "template0", "-E", "SQL_ASCII", "--locale=C"]).apply("satellite.sql");
    administration::migrate(&database.options()).await.unwrap();
    let options = database.options();
    Site::with(database, options).await
}

async fn names(site: &Site) -> Vec<(SystemId, String)> {
    let systems = site.systems().await.unwrap().into_iter();
    systems.map(|system| (system.id, system.name)).collect()
}

#[tokio::test]
async fn one_that_is_not_utf8_spoils_no_list() {
    let site = unchecked_site().await;
    let (odd, plain) = (registered(&site, "odd").await, registered(&site, "größe").await);
    let action = scheduled(&site, &[odd, plain], "one").await;
    for change in [
        "UPDATE rhnServer SET name = E'gr\\366sse' WHERE name = 'odd'",
        "UPDATE rhnAction SET name = E'f\\374r alle'",
        "UPDATE rhnServerAction SET result_msg = E'\\344'",
    ] {
        site.satellite.run(change).await;
    }

    assert_eq!(
        names(&site).await,
        [(plain, "größe".to_owned()), (odd, "gr\u{fffd}sse".to_owned())]
    );
    let all = ActionFilter {
        limit: 10,
        ..ActionFilter::default()
    };
    let actions = site.actions(&all).await.unwrap();
    let told: Vec<_> = actions.iter().map(|row| (row.id, row.name.as_str())).collect();
    assert_eq!(told, [(action, "f\u{fffd}r alle"); 2]);
    assert_eq!(actions[0].result.as_deref(), Some("\u{fffd}"));
    assert!(site.system_by_name("größe").await.unwrap().is_some());
    site.explain(odd).await.unwrap();
    site.start_node("one", at(0)).await.unwrap();
    assert_eq!(site.work(&[odd]).await.unwrap()[0].actions.len(), 1);
}

#[tokio::test]
async fn names_of_a_checked_encoding_are_read_as_they_are() {
    let site = Site::satellite().await;
    let system = registered(&site, "größe").await;

    assert_eq!(names(&site).await, [(system, "größe".to_owned())]);
}
