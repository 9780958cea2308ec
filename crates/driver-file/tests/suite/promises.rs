//! What every driver promises, on XFS and on ext4. What is peculiar to files is in the modules beside this one.

use crate::pools::{Ground, Kind, Pool, Pools};
use async_trait::async_trait;
use contract::Cuts;
use contract::driver::{Room, Subject};
use driver_file::Options;
use engine::ports::Driver;
use std::sync::Arc;

struct Files {
    ground: Ground,
    cuts: Arc<Cuts>,
}

#[async_trait]
impl Subject for Files {
    async fn open(&self) -> Arc<dyn Driver> {
        let cuts = self.cuts.clone();
        let options = Options { fail_points: Some(Arc::new(move |step: &str| cuts.pass(step))), ..Options::default() };
        Arc::new(Pool::open(&self.ground.folder(), options).driver)
    }

    fn cuts(&self) -> Option<&Cuts> {
        Some(&self.cuts)
    }

    fn room(&self) -> Option<&dyn Room> {
        Some(self)
    }
}

impl Room for Files {
    fn fill(&self) {
        self.ground.fill("filler", 0);
    }

    fn empty(&self) {
        self.ground.unfill("filler");
    }
}

/// Tries the promise on one file system, if it can be mounted here.
fn on(kind: Kind, promise: &str) {
    if let Some(ground) = Ground::new(kind, 320) {
        contract::driver::check(promise, &Files { ground, cuts: Arc::default() });
    }
}

mod with_reflinks {
    use crate::pools::Kind;

    fn holds(promise: &str) {
        super::on(Kind::Xfs, promise);
    }

    contract::driver_tests!(holds);
}

mod with_copies {
    use crate::pools::Kind;

    fn holds(promise: &str) {
        super::on(Kind::Ext4, promise);
    }

    contract::driver_tests!(holds);
}
