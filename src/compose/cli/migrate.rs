//! `migrate`: the dispatcher's own tables in a Satellite's database, and the triggers that wake it.

use super::arguments::MigrateArgs;
use super::ask::settings;
use super::error::CliError;
use super::{Done, output};
use crate::compose::dispatcher::postgres_options;
use crate::settings::database::Deployment;
use crate::store::postgres::{PostgresOptions, administration};

/// What was done.
#[derive(serde::Serialize)]
struct Migrated {
    database: String,
    /// How many migrations.
    applied: usize,
    triggers: Option<&'static str>,
}

pub fn migrate(args: &MigrateArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    if settings.deployment == Deployment::Standalone {
        return Err(CliError::NoSatellite(settings.database));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let migrated = runtime.block_on(perform(args, &postgres_options(&settings)))?;
    match args.plain.json {
        true => output::json(&migrated)?,
        false => output::line(migrated.in_words())?,
    }
    Ok(0)
}

async fn perform(args: &MigrateArgs, options: &PostgresOptions) -> Result<Migrated, CliError> {
    let mut migrated = Migrated {
        database: options.label().to_string(),
        applied: 0,
        triggers: None,
    };
    if args.remove_notify {
        administration::remove_notify(options).await?;
        migrated.triggers = Some("removed");
        return Ok(migrated);
    }
    migrated.applied = administration::migrate(options).await?;
    if args.install_notify {
        administration::install_notify(options).await?;
        migrated.triggers = Some("installed");
    }
    Ok(migrated)
}

impl Migrated {
    fn in_words(&self) -> String {
        let Self {
            database,
            applied,
            triggers,
        } = self;
        let triggers = triggers.map(|done| format!("triggers are {done}"));
        let tables = match applied {
            0 if triggers.as_deref() == Some("triggers are removed") => None,
            0 => Some("tables are up to date".to_owned()),
            _ => Some("tables are made".to_owned()),
        };
        let said: Vec<String> = tables.into_iter().chain(triggers).collect();
        format!("database {database}: {}", said.join(", "))
    }
}
