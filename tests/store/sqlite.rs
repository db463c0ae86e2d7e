//! The contract on SQLite.

use osa::ports::store::Store;
use osa::store::sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::contract::Fixture;

/// A new database that goes with its directory.
pub struct NewDatabase {
    store: SqliteStore,
    _directory: TempDir,
}

impl Fixture for NewDatabase {
    fn store(&self) -> &dyn Store {
        &self.store
    }
}

pub async fn new_database() -> NewDatabase {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_for_serving(&SqliteOptions::at(directory.path().join("osa.db"))).unwrap();
    NewDatabase {
        store,
        _directory: directory,
    }
}

crate::contract::standalone_suite!(crate::sqlite::new_database);
