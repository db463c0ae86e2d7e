//! Lists of systems, accounts and actions, and their removal.

use super::arguments::{PlainArgs, ResetArgs, SystemArgs};
use super::ask::{ask, refuse_beside_satellite, refuse_beside_server, settings};
use super::error::CliError;
use super::{Done, output};
use crate::compose::control::answers::{Action, Answer, System};
use crate::compose::control::requests::{ActionQuery, Request};
use crate::compose::time::Time;
use crate::ports::store::SYSTEMS;

pub fn systems(args: &PlainArgs) -> Done {
    let Answer::Systems(systems) = ask(&settings(&args.config)?, Request::ListSystems)? else {
        return Err(CliError::OtherAnswer);
    };
    if args.json {
        output::json(&systems)?;
        return Ok(0);
    }
    let header = ["ID", "SYSTEM", "STATE", "PENDING", "LAST MESSAGE", "JID"];
    output::print(&output::table(header, systems.into_iter().map(system_row)))?;
    Ok(0)
}

fn system_row(system: System) -> [String; 6] {
    let state = match (system.online, &system.jid) {
        (true, _) => "online",
        (false, Some(_)) => "offline",
        (false, None) => "never registered",
    };
    let jid = match (system.jid, system.jid_owner) {
        (Some(jid), Some(owner)) => Some(format!("{jid} (that of {owner})")),
        (jid, _) => jid,
    };
    [
        system.id.to_string(),
        system.name,
        state.to_owned(),
        system.pending.to_string(),
        output::or_dash(system.last_message.map(Time::local)),
        output::or_dash(jid),
    ]
}

pub fn remove_system(args: SystemArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    refuse_beside_satellite(&settings, SYSTEMS)?;
    let request = Request::RemoveSystem { name: args.name };
    let Answer::SystemRemoved(system) = ask(&settings, request)? else {
        return Err(CliError::OtherAnswer);
    };
    match args.plain.json {
        true => output::json(&system)?,
        false => output::line(format!(
            "system {} is removed, with its actions and records",
            system.name
        ))?,
    }
    Ok(0)
}

pub fn accounts(args: &PlainArgs) -> Done {
    let settings = settings(&args.config)?;
    refuse_beside_server(&settings)?;
    let Answer::Accounts(accounts) = ask(&settings, Request::ListAccounts)? else {
        return Err(CliError::OtherAnswer);
    };
    if args.json {
        output::json(&accounts)?;
        return Ok(0);
    }
    let rows = accounts.into_iter().map(|account| {
        let linked = if account.linked { "yes" } else { "no" };
        [account.username, account.created.local(), linked.to_owned()]
    });
    output::print(&output::table(["ACCOUNT", "REGISTERED", "LINKED"], rows))?;
    Ok(0)
}

pub fn reset_account(args: ResetArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    refuse_beside_server(&settings)?;
    let request = Request::ResetAccount {
        username: args.username,
    };
    let Answer::AccountReset { username } = ask(&settings, request)? else {
        return Err(CliError::OtherAnswer);
    };
    match args.plain.json {
        true => output::json(&serde_json::json!({ "username": username }))?,
        false => output::line(format!(
            "account {username} is removed; its agent registers a new one when it next connects"
        ))?,
    }
    Ok(0)
}

pub fn actions(args: &PlainArgs, query: ActionQuery) -> Done {
    let Answer::Actions(actions) = ask(&settings(&args.config)?, Request::ListActions(query))? else {
        return Err(CliError::OtherAnswer);
    };
    if args.json {
        output::json(&actions)?;
        return Ok(0);
    }
    output::print(&action_table(actions.into_iter()))?;
    Ok(0)
}

/// Actions with the milliseconds of each step.
pub fn action_table(actions: impl Iterator<Item = Action>) -> String {
    let header = [
        "ACTION",
        "NAME",
        "SYSTEM",
        "STATE",
        "NOT BEFORE",
        "SENT ms",
        "ANSWERED ms",
        "STARTED ms",
        "FINISHED ms",
        "RESULT",
    ];
    output::table(header, actions.map(action_row))
}

fn action_row(action: Action) -> [String; 10] {
    let steps = action.milliseconds;
    [
        action.id.to_string(),
        action.name,
        action.system.name,
        action.state.as_str().to_owned(),
        action.at.local(),
        output::or_dash(steps.sent),
        output::or_dash(steps.answered),
        output::or_dash(steps.started),
        output::or_dash(steps.finished),
        output::or_dash(action.result),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jid_of_another_system_is_shown_as_that() {
        let system = |jid_owner: Option<&str>| System {
            id: 1,
            name: "web".to_owned(),
            online: false,
            jid: Some("osad-1@sat/osad".to_owned()),
            jid_owner: jid_owner.map(str::to_owned),
            last_message: None,
            pending: 0,
        };
        let shown = |owner| {
            let [.., jid] = system_row(system(owner));
            jid
        };

        assert_eq!(shown(None), "osad-1@sat/osad");
        assert_eq!(shown(Some("web-2")), "osad-1@sat/osad (that of web-2)");
    }
}
