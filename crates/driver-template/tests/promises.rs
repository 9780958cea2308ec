//! The template keeps what every driver promises. This file is all that the suite needs to know of a driver.

use async_trait::async_trait;
use contract::Cuts;
use contract::driver::{Room, Subject};
use driver_template::{Appliance, TemplateDriver};
use engine::ports::Driver;
use lifecycle::VolumeId;
use std::sync::Arc;

struct Template {
    appliance: Arc<Appliance>,
    cuts: Arc<Cuts>,
}

#[async_trait]
impl Subject for Template {
    async fn open(&self) -> Arc<dyn Driver> {
        let cuts = Arc::clone(&self.cuts);
        Arc::new(TemplateDriver::open(Arc::clone(&self.appliance), Some(Arc::new(move |step: &str| cuts.pass(step)))))
    }

    fn cuts(&self) -> Option<&Cuts> {
        Some(&self.cuts)
    }

    fn room(&self) -> Option<&dyn Room> {
        Some(self)
    }

    // Only because the appliance's LUNs are no files: a driver whose backing can be opened leaves these two out.
    async fn write(&self, _driver: &dyn Driver, volume: VolumeId, at: u64, bytes: &[u8]) {
        self.appliance.write(&format!("berth-{volume}"), at, bytes).expect("the volume is there");
    }

    async fn read(&self, _driver: &dyn Driver, volume: VolumeId, at: u64, length: usize) -> Vec<u8> {
        self.appliance.read(&format!("berth-{volume}"), at, length).expect("the volume is there")
    }
}

impl Room for Template {
    fn fill(&self) {
        self.appliance.others_take_all(true);
    }

    fn empty(&self) {
        self.appliance.others_take_all(false);
    }
}

fn holds(promise: &str) {
    contract::driver::check(promise, &Template { appliance: Arc::new(Appliance::with_room(1 << 30)), cuts: Arc::default() });
}

contract::driver_tests!(holds);
