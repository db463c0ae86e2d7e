//! `dispatchers`: the rows by which a Satellite tells its clients of dispatchers.

use super::arguments::{DispatchersCommand, PlainArgs, RowArgs};
use super::ask::{block_on, settings};
use super::error::CliError;
use super::{Done, output};
use crate::compose::dispatcher::postgres_options;
use crate::compose::time::Time;
use crate::domain::dispatcher_account::{in_force, username};
use crate::domain::dispatcher_rows::{DispatcherRow, KeptRow, jid, removable};
use crate::settings::database::Deployment;
use crate::settings::dispatcher::DispatcherSettings;
use crate::settings::upstream::Transport;
use crate::store::postgres::{PostgresOptions, administration};

/// A row as it is shown.
#[derive(serde::Serialize)]
struct Shown {
    jid: String,
    hostname: String,
    last_checkin: Time,
    /// Whether it is the one of the dispatcher that is configured here.
    own: bool,
}

pub fn dispatchers(command: DispatchersCommand) -> Done {
    match command {
        DispatchersCommand::List(args) => list(&args),
        DispatchersCommand::Remove(args) => remove(&args),
    }
}

fn satellite(args: &PlainArgs) -> Result<(DispatcherSettings, PostgresOptions), CliError> {
    let settings = settings(&args.config)?;
    match settings.deployment {
        Deployment::Standalone => Err(CliError::NoRows),
        Deployment::Satellite => {
            let options = postgres_options(&settings)?;
            Ok((settings, options))
        }
    }
}

fn list(args: &PlainArgs) -> Done {
    let (settings, options) = satellite(args)?;
    let (rows, _) = block_on(administration::dispatchers(&options))??;
    let own = own_jid(&settings, &rows);
    let shown = rows.into_iter().map(|row| Shown {
        own: row.jid == own,
        jid: row.jid,
        hostname: row.hostname,
        last_checkin: Time(row.last_checkin),
    });
    if args.json {
        output::json(&shown.collect::<Vec<_>>())?;
        return Ok(0);
    }
    let rows = shown.map(|row| {
        let whose = if row.own { "this dispatcher's" } else { "" };
        [row.jid, row.hostname, row.last_checkin.local(), whose.to_owned()]
    });
    output::print(&output::table(["JID", "HOST", "LAST CHECK-IN", ""], rows))?;
    Ok(0)
}

fn remove(args: &RowArgs) -> Done {
    let (settings, options) = satellite(&args.plain)?;
    let row = block_on(remove_row(&settings, &options, &args.jid))??;
    match args.plain.json {
        true => output::json(&serde_json::json!({ "jid": row.jid, "hostname": row.hostname }))?,
        false => output::line(format!(
            "{} is removed; clients are told of it no more when they next enrol",
            row.jid
        ))?,
    }
    Ok(0)
}

/// The JID of the dispatcher that is configured here: the embedded server's, or that of its account on another one.
fn own_jid(settings: &DispatcherSettings, rows: &[DispatcherRow]) -> String {
    let hostname = settings.dispatcher_domain().as_str();
    let usual = jid(hostname);
    match settings.transport {
        Transport::Embedded => usual,
        Transport::Client | Transport::Component => {
            let name = |row: &DispatcherRow| username(&row.jid, hostname).map(str::to_owned);
            let mut ours: Vec<(String, &DispatcherRow)> =
                rows.iter().filter_map(|row| Some((name(row)?, row))).collect();
            ours.sort_by_key(|(_, row)| std::cmp::Reverse(row.last_checkin));
            in_force(ours, |(name, _)| name).map_or(usual, |(_, row)| row.jid.clone())
        }
    }
}

async fn remove_row(
    settings: &DispatcherSettings,
    options: &PostgresOptions,
    wanted: &str,
) -> Result<DispatcherRow, CliError> {
    let (rows, now) = administration::dispatchers(options).await?;
    let row = removable(&rows, wanted, &own_jid(settings, &rows), now)?;
    match administration::remove_dispatcher(options, row).await? {
        true => Ok(row.clone()),
        // It has checked in meanwhile, or somebody else was quicker.
        false => Err(KeptRow::Absent(wanted.to_owned()).into()),
    }
}
