//! Opening a connection and setting its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio_postgres::config::{Config, SslMode as Wanted};

use super::clock::DatabaseClock;
use super::failure::{Failure, of_connecting, of_first_words};
use super::options::{PostgresOptions, ServerAddress, SslMode};
use super::statement::statement;
use super::tls::Tls;
use crate::ports::store::{DatabaseLabel, StoreError};

/// After so long without traffic the network is asked whether the server is there: idle connections and `LISTEN`.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// Between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// So many unanswered ones end the connection.
const KEEPALIVE_RETRIES: u32 = 3;

/// The first server that can be told to keep plans. Units: its version number, such as 90224 or 150018.
const KEEPS_PLANS_FROM: i64 = 120_000;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Tls,
    deadline: Duration,
    pub(super) label: DatabaseLabel,
    keeps_plans: Arc<AtomicBool>,
    pub(super) clock: Arc<DatabaseClock>,
}

impl Connector {
    /// A connector by these options.
    ///
    /// # Errors
    /// [`StoreError::Unsafe`].
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        Ok(Self {
            config: config(options),
            tls: Tls::new(options)?,
            deadline: options.deadline,
            label: options.label(),
            keeps_plans: Arc::default(),
            clock: Arc::new(DatabaseClock::unread()),
        })
    }

    /// Whether statements are planned once per connection, for whatever arguments: planning one takes longer than reading
    /// what it asks for by key.
    pub(super) fn keeps_plans(&self) -> bool {
        AtomicBool::load(&self.keeps_plans, Ordering::Relaxed)
    }

    /// Opens a connection whose statements end by themselves; cancelled by the caller's deadline.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::Denied`], [`StoreError::Unsafe`], [`StoreError::Pooled`].
    pub(super) async fn connect(&self) -> Result<AsyncPgConnection, StoreError> {
        let (client, driver) = self
            .config
            .connect(self.tls.clone())
            .await
            .map_err(|error| of_connecting(&error, &self.label))?;
        let mut connection = AsyncPgConnection::try_from_client_and_connection(client, driver)
            .await
            .map_err(|error| of_first_words(&error.to_string(), &self.label))?;
        self.set_up(&mut connection)
            .await
            .map_err(|failure| failure.into_store_error(&self.label))?;
        Ok(connection)
    }

    async fn set_up(&self, connection: &mut AsyncPgConnection) -> Result<(), Failure> {
        let (version,) = statement::<(BigInt,)>("SELECT current_setting('server_version_num')::bigint")
            .get_result::<(i64,)>(connection)
            .await?;
        // Less than the use case's deadline, so that the server's own words arrive where it has any.
        let statement_timeout = self.deadline.as_millis() * 4 / 5;
        let lock_timeout = self.deadline.as_millis() / 5;
        let mut limits = format!("SET statement_timeout = {statement_timeout};");
        if version >= 90_300 {
            limits += &format!("SET lock_timeout = {lock_timeout};");
        }
        if version >= 90_600 {
            limits += &format!("SET idle_in_transaction_session_timeout = {statement_timeout};");
        }
        if version >= 110_000 {
            limits += "SET jit = off;";
        }
        self.keeps_plans.store(version >= KEEPS_PLANS_FROM, Ordering::Relaxed);
        if version >= KEEPS_PLANS_FROM {
            limits += "SET plan_cache_mode = force_generic_plan;";
        }
        connection.batch_execute(&limits).await?;
        self.clock.read(connection).await
    }
}

fn config(options: &PostgresOptions) -> Config {
    let mut config = Config::new();
    config
        .dbname(&options.database)
        .user(&options.user)
        .port(options.port)
        .application_name("osa-dispatcher")
        .connect_timeout(options.deadline / 2)
        .tcp_user_timeout(options.deadline)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    match &options.address {
        ServerAddress::Socket(directory) => config.host_path(directory).ssl_mode(Wanted::Disable),
        ServerAddress::Host(host) => config.host(host).ssl_mode(match options.ssl_mode {
            SslMode::Disable => Wanted::Disable,
            SslMode::Prefer => Wanted::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Wanted::Require,
        }),
    };
    if let Some(password) = &options.password {
        config.password(password.expose());
    }
    config
}
