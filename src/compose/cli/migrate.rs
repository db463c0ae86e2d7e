//! `migrate`: the dispatcher's own tables in a Satellite's database, and the triggers that wake it.

use super::arguments::MigrateArgs;
use super::ask::{ask_running, block_on, settings};
use super::error::CliError;
use super::{Done, output};
use crate::compose::control::requests::Request;
use crate::compose::dispatcher::postgres_options;
use crate::net::control::ControlError;
use crate::settings::database::Deployment;
use crate::settings::dispatcher::DispatcherSettings;
use crate::store::postgres::{Triggers, administration};

/// What was done.
#[derive(serde::Serialize)]
struct Migrated {
    database: String,
    /// How many migrations.
    applied: usize,
    /// Whether tables are removed.
    tables_removed: bool,
    triggers: Option<&'static str>,
}

const OUTDATED: &str = "outdated";

pub fn migrate(args: &MigrateArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    if settings.deployment == Deployment::Standalone {
        return Err(CliError::NoSatellite(settings.database));
    }
    let migrated = block_on(perform(args, &settings))??;
    match args.plain.json {
        true => output::json(&migrated)?,
        false => output::line(migrated.in_words(!args.remove_notify && !args.remove_tables))?,
    }
    Ok(0)
}

async fn perform(args: &MigrateArgs, settings: &DispatcherSettings) -> Result<Migrated, CliError> {
    let options = &postgres_options(settings)?;
    let mut migrated = Migrated {
        database: options.label().to_string(),
        applied: 0,
        tables_removed: false,
        triggers: None,
    };
    if args.remove_tables {
        refuse_under_dispatcher(settings).await?;
        migrated.tables_removed = administration::remove(options).await?;
    }
    if args.remove_notify {
        administration::remove_notify(options).await?;
    }
    if args.remove_tables || args.remove_notify {
        migrated.triggers = Some("removed");
        return Ok(migrated);
    }
    migrated.applied = administration::migrate(options).await?;
    if args.install_notify {
        administration::install_notify(options).await?;
        migrated.triggers = Some("installed");
    } else if administration::triggers(options).await? == Triggers::Outdated {
        // They are on the Satellite's tables: nothing is put there that was not asked for.
        migrated.triggers = Some(OUTDATED);
    }
    Ok(migrated)
}

async fn refuse_under_dispatcher(settings: &DispatcherSettings) -> Result<(), CliError> {
    match ask_running(settings, Request::Status).await {
        Err(CliError::Control(ControlError::NoDispatcher(_))) => Ok(()),
        Ok(_) | Err(_) => Err(CliError::TablesInUse),
    }
}

impl Migrated {
    fn in_words(&self, has_migrated: bool) -> String {
        let tables = match (self.tables_removed, has_migrated, self.applied) {
            (true, _, _) => Some("tables are removed".to_owned()),
            (false, false, _) => None,
            (false, true, 0) => Some("tables are up to date".to_owned()),
            (false, true, _) => Some("tables are made".to_owned()),
        };
        let triggers = self.triggers.map(|done| match done {
            OUTDATED => {
                "triggers are not of this version, or not complete: run osa-dispatcher migrate --install-notify"
                    .to_owned()
            }
            done => format!("triggers are {done}"),
        });
        let said: Vec<String> = tables.into_iter().chain(triggers).collect();
        format!("database {}: {}", self.database, said.join(", "))
    }
}
