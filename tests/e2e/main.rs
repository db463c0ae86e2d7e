//! Real processes, real files, real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[cfg(feature = "dispatcher")]
mod administrators;
#[cfg(feature = "dispatcher")]
mod administrators_systems;
#[cfg(feature = "dispatcher")]
mod agents;
#[cfg(feature = "dispatcher")]
mod as_component;
#[cfg(feature = "dispatcher")]
mod bad_databases;
#[cfg(feature = "dispatcher")]
mod bad_starts;
#[cfg(feature = "dispatcher")]
mod behind_http_proxy;
#[cfg(feature = "dispatcher")]
mod behind_proxy;
#[cfg(feature = "dispatcher")]
mod beside_satellite;
#[cfg(feature = "dispatcher")]
mod bundles;
mod check_runs;
#[cfg(feature = "dispatcher")]
mod clones;
#[cfg(feature = "dispatcher")]
#[expect(dead_code, clippy::expect_used, reason = "shared with the tests of the store")]
#[path = "../store/postgres/cluster.rs"]
mod cluster;
#[cfg(feature = "dispatcher")]
mod commands;
#[cfg(feature = "dispatcher")]
mod contacts_gone;
#[cfg(all(feature = "dispatcher", debug_assertions))]
mod crashes;
#[cfg(feature = "dispatcher")]
mod database;
#[cfg(feature = "dispatcher")]
mod demo;
#[cfg(feature = "dispatcher")]
mod deployment;
#[cfg(feature = "dispatcher")]
mod detour;
#[cfg(feature = "dispatcher")]
#[path = "../store/postgres/disk.rs"]
mod disk;
#[cfg(feature = "dispatcher")]
mod dispatcher_rows;
#[cfg(feature = "dispatcher")]
mod endurance;
#[cfg(feature = "dispatcher")]
mod existing;
#[cfg(feature = "dispatcher")]
mod existing_agents;
#[cfg(feature = "dispatcher")]
mod existing_logins;
#[cfg(feature = "dispatcher")]
mod foreign_agents;
mod foreign_servers;
#[cfg(feature = "dispatcher")]
mod foreign_site;
#[cfg(feature = "dispatcher")]
mod key_rotation;
#[cfg(feature = "dispatcher")]
mod machine;
#[cfg(feature = "swarm")]
mod measurements;
#[cfg(feature = "dispatcher")]
mod names;
#[cfg(feature = "dispatcher")]
mod over_servers;
#[cfg(feature = "dispatcher")]
#[path = "../store/postgres/ports.rs"]
mod ports;
#[cfg(feature = "dispatcher")]
mod premade_accounts;
#[cfg(feature = "dispatcher")]
#[expect(clippy::expect_used, reason = "shared with the tests of the store")]
#[path = "../store/postgres/private_server.rs"]
mod private_server;
#[cfg(feature = "dispatcher")]
mod pushes;
#[cfg(feature = "dispatcher")]
mod rhn_check;
#[cfg(feature = "dispatcher")]
mod satellite;
#[cfg(feature = "dispatcher")]
mod satellite_agents;
#[cfg(feature = "dispatcher")]
mod satellite_faults;
#[cfg(feature = "dispatcher")]
mod satellite_httpd;
#[cfg(feature = "dispatcher")]
mod satellite_kills;
#[cfg(feature = "dispatcher")]
mod satellite_pace;
#[cfg(feature = "dispatcher")]
mod satellite_refusals;
mod satellite_rules;
#[cfg(feature = "dispatcher")]
mod satellite_scene;
#[cfg(feature = "dispatcher")]
mod satellite_sessions;
#[cfg(feature = "dispatcher")]
mod satellite_starts;
#[cfg(feature = "dispatcher")]
mod server_accounts;
#[cfg(feature = "dispatcher")]
mod server_cluster;
#[cfg(feature = "dispatcher")]
mod server_faults;
#[cfg(feature = "dispatcher")]
mod server_lists;
#[cfg(feature = "dispatcher")]
mod server_scene;
#[cfg(feature = "dispatcher")]
#[allow(dead_code, reason = "which tests there are decides what is used")]
mod servers;
#[cfg(feature = "dispatcher")]
mod site;
#[cfg(feature = "dispatcher")]
mod slow_socket;
#[cfg(feature = "swarm")]
mod thousand_sessions;
