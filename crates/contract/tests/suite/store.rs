//! The simulated store keeps what every store promises.

use async_trait::async_trait;
use contract::store::Subject;
use engine::store::Store;
use sim::MemStore;
use std::sync::Arc;

/// Its memory is its disk: opened again it is the same.
struct Memory(Arc<MemStore>);

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        self.0.clone()
    }
}

fn holds(promise: &str) {
    contract::store::check(promise, &Memory(Arc::default()));
}

contract::store_tests!(holds);
