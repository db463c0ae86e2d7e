//! The rights that `docs/attach.md` lists suffice, and are the only ones that are used.

use osa::domain::dispatcher_account::DispatcherAccount;
use osa::domain::ids::{ClientName, SystemId};
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::{LossReason, Step};
use osa::domain::secret::Secret;
use osa::ports::accounts::Accounts;
use osa::ports::inventory::{ActionFilter, Inventory};
use osa::ports::push::PushStore;
use osa::ports::store::StoreError;
use osa::ports::upstream::UpstreamAccounts;
use osa::store::postgres::{PostgresOptions, PostgresStore, administration};

use super::cluster::Database;
use super::site::Site;
use crate::contract::{answered, at, jid, number, record, registered, report, run_start, scheduled};

/// What stands between back quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The documented rights of a role as statements; tables that this schema lacks are left out.
fn grants(role: &str) -> Vec<String> {
    let page = include_str!("../../../docs/attach.md");
    let (_, section) = page
        .split_once("## What is read and written")
        .expect("the section is there");
    let (section, _) = section.split_once("\n## ").expect("another follows");
    let mut statements = Vec::new();
    for row in section
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
    {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, tables, right, ..] = cells.as_slice() else {
            panic!("{row}");
        };
        let right = match right.split_once(" of ") {
            Some((right, columns)) => format!("{right} ({})", quoted(columns).join(", ")),
            None => (*right).to_owned(),
        };
        // Own tables and their sequence are granted by the statements below the table; Uyuni's table is not here.
        let granted = quoted(tables).into_iter();
        let granted = granted.filter(|table| !table.starts_with("suse") && !table.starts_with("osa_"));
        statements.extend(granted.map(|table| format!("GRANT {right} ON {table} TO {role}")));
    }
    statements.extend(own_grants(section, role));
    statements
}

/// The statements by which the page gives the dispatcher's tables to a role that did not make them.
fn own_grants(section: &str, role: &str) -> Vec<String> {
    let given = section.lines().filter_map(|line| line.strip_prefix("    GRANT "));
    let statements = given.map(|line| format!("GRANT {}", line.replace(" TO osa;", &format!(" TO {role}"))));
    statements.collect()
}

/// A role with the documented rights and no others.
fn limited_role(database: &Database) -> String {
    let role = format!("osa_{}", database.name);
    database.sql(&format!("CREATE ROLE {role} LOGIN"));
    let granted = grants(&role);
    assert!(granted.len() > 10, "{granted:?}");
    for statement in granted {
        database.sql(&statement);
    }
    role
}

/// A site whose dispatcher has the documented rights only; its role, and how it opens the store.
async fn limited_site() -> (Site, String, PostgresOptions) {
    let database = Database::satellite();
    administration::migrate(&database.options()).await.unwrap();
    let role = limited_role(&database);
    let options = PostgresOptions {
        user: role.clone(),
        entitlements: vec!["enterprise_entitled".to_owned()],
        notify_threshold: Some(10),
        ..database.options()
    };
    (Site::with(database, options.clone()).await, role, options)
}

/// What belongs to a role of its own stays in the cluster otherwise.
async fn drop_role(site: &Site, role: &str) {
    let text = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    site.satellite.run(&text).await;
}

/// A system with an action that was found.
async fn found(site: &Site) -> SystemId {
    let system = registered(site, "a").await;
    site.satellite
        .run(&format!("INSERT INTO rhnServerGroupMembers VALUES ({system}, 1)"))
        .await;
    scheduled(site, &[system], "one").await;
    assert_eq!(site.changed_systems().await.unwrap().systems, [system]);
    system
}

#[tokio::test]
async fn documented_rights_suffice_for_the_life_cycle() {
    let (site, role, _) = limited_site().await;
    site.start_node("one", at(0)).await.unwrap();
    let system = found(&site).await;
    assert_eq!(site.clients_by_jid(&jid("a")).await.unwrap().len(), 1);
    let by_name = site.client_by_name(&ClientName("client-a".to_owned())).await;
    assert!(by_name.unwrap().is_some());

    answered(&site, system, 1, 0).await;
    let steps = [
        Step::Started(run_start(1, 1)),
        report(1, 1, RunEnd::Exited(0)),
        Step::Online(true),
    ];
    record(&site, system, 1, steps).await;
    let steps = [
        Step::Heard,
        Step::AgentAnnounced,
        Step::Lost(number(9), LossReason::NotSent),
    ];
    record(&site, system, 2, steps).await;
    assert_eq!(site.satellite.state(system).await, "online");
    site.changed_systems().await.unwrap();
    site.settle_presence(&[(system, false)], at(60)).await.unwrap();
    assert_eq!(site.satellite.state(system).await, "offline");
    site.prune(at(100)).await.unwrap();
    drop_role(&site, &role).await;
}

#[tokio::test]
async fn documented_rights_suffice_for_accounts_commands_and_the_dispatchers_row() {
    let (site, role, _) = limited_site().await;
    let system = found(&site).await;

    site.create_account("osad-a", "x", at(0)).await.unwrap();
    assert!(site.account("osad-a").await.unwrap().is_some());
    assert_eq!(site.accounts().await.unwrap().len(), 1);
    site.expire_accounts(at(9)).await.unwrap();
    site.remove_account("osad-a").await.unwrap();
    assert_eq!(site.systems().await.unwrap().len(), 1);
    let all = ActionFilter {
        limit: 10,
        ..ActionFilter::default()
    };
    assert_eq!(site.actions(&all).await.unwrap().len(), 1);
    site.explain(system).await.unwrap();
    for _ in ["insert", "update"] {
        let (jid, password) = ("rhn-dispatcher-sat@a/superclient", Secret::new("x"));
        site.store.check_in_dispatcher(jid, "a", &password).await.unwrap();
    }
    assert_eq!(site.store.dispatchers().await.unwrap().len(), 1);
    let [fresh, next] = [0, 1].map(|byte| DispatcherAccount::another([byte; 4], [byte; 16]));
    let current = site.store.check_in_dispatcher_account("a", &fresh).await.unwrap();
    site.store
        .rotate_dispatcher_account("a", &current, &next)
        .await
        .unwrap();
    assert_eq!(site.store.known_jids().await.unwrap().len(), 1);
    drop_role(&site, &role).await;
}

#[tokio::test]
async fn what_a_role_may_not_do_is_told_when_it_is_needed() {
    let (site, role, options) = limited_site().await;
    let system = found(&site).await;

    let refused = administration::install_notify(&options).await;
    assert!(
        matches!(refused, Err(StoreError::Denied { .. } | StoreError::Other { .. })),
        "{refused:?}"
    );
    for whom in ["PUBLIC", &role] {
        site.satellite
            .run(&format!("REVOKE SELECT ON rhnServerLock FROM {whom}"))
            .await;
    }
    let refused = site.work(&[system]).await;
    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    assert!(PostgresStore::open(&options).await.is_ok());
    drop_role(&site, &role).await;
}

/// The rows for the dispatcher's own tables say what the statements below them give.
#[test]
fn statements_for_own_tables_give_what_their_rows_say() {
    let page = include_str!("../../../docs/attach.md");

    let given = own_grants(page, "osa");

    let up = include_str!("../../../migrations/postgres/0001_push_lifecycle/up.sql");
    let made = up.lines().filter_map(|line| line.strip_prefix("CREATE TABLE "));
    let mut tables: Vec<&str> = made.filter_map(|line| line.split(' ').next()).collect();
    tables.push("osa_schema");
    tables.sort_unstable();
    let rights = "SELECT, INSERT, UPDATE, DELETE";
    assert_eq!(given[0], format!("GRANT {rights} ON {} TO osa", tables.join(", ")));
    assert_eq!(given[1], "GRANT USAGE ON SEQUENCE osa_node_incarnation_seq TO osa");
    assert!(page.contains(&format!("| own tables, `osa_*` | {rights} |")));
    assert!(page.contains("| sequence `osa_node_incarnation_seq` | USAGE |"));
}

#[tokio::test]
async fn a_start_needs_the_sequence() {
    let (site, role, options) = limited_site().await;
    site.satellite
        .run(&format!(
            "REVOKE USAGE ON SEQUENCE osa_node_incarnation_seq FROM {role}"
        ))
        .await;

    let refused = PostgresStore::open(&options)
        .await
        .unwrap()
        .start_node("one", at(0))
        .await;

    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    drop_role(&site, &role).await;
}

#[tokio::test]
async fn a_role_that_makes_the_tables_itself_needs_to_create_them_and_no_more() {
    let database = Database::satellite();
    let role = format!("osa_{}", database.name);
    // As it is from PostgreSQL 15 on.
    database.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    database.sql(&format!("CREATE ROLE {role} LOGIN"));
    let options = PostgresOptions {
        user: role.clone(),
        ..database.options()
    };

    let refused = administration::migrate(&options).await;

    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    database.sql(&format!("GRANT CREATE ON SCHEMA public TO {role}"));
    assert!(administration::migrate(&options).await.unwrap() > 0);
    for statement in grants(&role).iter().filter(|statement| !statement.contains("osa_node")) {
        database.sql(statement);
    }
    let site = Site::with(database, options).await;
    site.start_node("one", at(0)).await.unwrap();
    drop_role(&site, &role).await;
}
