//! The store on a disk keeps what every store promises.

use async_trait::async_trait;
use contract::store::Subject;
use engine::store::Store;
use std::sync::Arc;
use store_sqlite::{Options, SqliteStore};
use tempfile::TempDir;

struct Folder(TempDir);

#[async_trait]
impl Subject for Folder {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.0.path(), Options { ballast: 1 << 20 }).expect("it opens"))
    }
}

fn holds(promise: &str) {
    contract::store::check(promise, &Folder(tempfile::tempdir().expect("a folder")));
}

contract::store_tests!(holds);
