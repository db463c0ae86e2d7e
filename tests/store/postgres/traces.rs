//! Which request ended an action that the Satellite completes.

use osa::domain::ids::{ActionId, SystemId};
use osa::domain::push::client::RunEnd;
use osa::domain::push::request::Step;
use osa::domain::time::Timestamp;

use super::site::Site;
use crate::contract::inventory::completed_action_shows_its_request;
use crate::contract::{answered, at, granted, number, record, registered, report, row, run_start, scheduled};

async fn complete(site: &Site, action: ActionId, system: SystemId, at: Timestamp) {
    let text = format!(
        "UPDATE rhnServerAction SET status = 2, completion_time = to_timestamp({}) \
         WHERE action_id = {action} AND server_id = {system}",
        at.as_secs()
    );
    site.satellite.run(&text).await;
}

#[tokio::test]
async fn completed_action_shows_the_request_that_completed_it() {
    let site = Site::satellite().await;
    let by_satellite = async |action, system, at| complete(&site, action, system, at).await;
    completed_action_shows_its_request(&site, by_satellite).await;
}

#[tokio::test]
async fn action_that_is_completed_in_a_run_shows_its_request_before_the_run_is_reported() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    answered(&site, system, 1, 0).await;
    record(&site, system, 1, [Step::Started(run_start(1, 1))]).await;
    answered(&site, system, 2, 2).await;
    granted(&site, system, 3, 9).await;

    complete(&site, action, system, at(5)).await;

    assert_eq!(row(&site, action, system).await.trace.number, Some(1));
    record(&site, system, 12, [report(1, 1, RunEnd::Exited(0))]).await;
    assert_eq!(row(&site, action, system).await.trace.number, Some(1));
}

#[tokio::test]
async fn action_of_an_existing_agent_shows_the_last_request_before_its_end() {
    let site = Site::satellite().await;
    let system = registered(&site, "a").await;
    let action = scheduled(&site, &[system], "one").await;
    for (request, now) in [(1, 0), (2, 15), (3, 45)] {
        granted(&site, system, request, now).await;
        record(&site, system, now + 1, [Step::Received(number(request))]).await;
    }
    assert_eq!(row(&site, action, system).await.trace.number, Some(3));

    complete(&site, action, system, at(20)).await;

    let shown = row(&site, action, system).await;
    assert_eq!((shown.completed, shown.trace.number), (Some(at(20)), Some(2)));
    // Scheduled again, it has not ended.
    site.satellite.set_status(action, system, 0).await;
    assert_eq!(row(&site, action, system).await.trace.number, Some(3));
}
