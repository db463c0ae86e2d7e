//! The contract on PostgreSQL, and what holds only beside a Satellite.

mod cluster;
#[expect(dead_code, reason = "shared with the end-to-end tests")]
mod disk;
mod faults;
mod grants;
mod hints;
mod neighbours;
mod notify;
mod ports;
#[expect(dead_code, reason = "shared with the end-to-end tests")]
mod private_server;
mod satellite;
mod site;
mod starts;
mod strange_ids;
mod strange_names;
mod tls;
mod traces;
mod upstream;

use osa::domain::ids::SystemId;
use osa::domain::push::request::{Entry, Step};

use crate::contract::at;
use site::Site;

async fn new_site() -> Site {
    Site::satellite().await
}

fn step(system: SystemId, secs: i64, step: Step) -> Entry {
    Entry {
        system,
        at: at(secs),
        step,
    }
}

crate::contract::satellite_suite!(crate::postgres::new_site);
