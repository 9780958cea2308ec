//! Where new ids come from: the time and chance in service, a seeded row of them where a run must be repeatable.

use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Makes ids that were never used before. Cheap to clone; all clones draw from one source.
#[derive(Clone)]
pub struct Ids(Arc<dyn Fn() -> Uuid + Send + Sync>);

impl Ids {
    /// Draws ids from `source`, which must never give one twice.
    pub fn new(source: impl Fn() -> Uuid + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    pub(crate) fn next(&self) -> Uuid {
        (self.0)()
    }
}

impl Default for Ids {
    /// Ids in the order of their making (version 7): what is made one after the other lies side by side in every index of a store. The
    /// time is the system's and no port's, as nothing is decided by it.
    fn default() -> Self {
        Self::new(Uuid::now_v7)
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}
