//! All that is not the process: time, chance, the broker, HubSpot, and what is kept of both for the promises.

use std::time::Duration;

use fastrand::Rng;

use crate::agenda::{Agenda, Happening};
use crate::broker::Broker;
use crate::ceilings::Ceilings;
use crate::far_side::FarSide;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::verity::Verity;

/// See the module.
#[derive(Debug)]
pub struct Outside<'s> {
    pub scenario: &'s Scenario,
    /// Since the scenario's epoch.
    pub now: Duration,
    pub rng: Rng,
    pub agenda: Agenda,
    pub broker: Broker,
    pub far: FarSide<'s>,
    pub ceilings: Ceilings<'s>,
    pub verity: Verity<'s>,
    pub trace: Trace,
    /// A delivery is on the agenda already.
    pub delivery_due: bool,
}

/// From the broker to the consumer.
const DELIVERY: Duration = Duration::from_millis(1);

impl<'s> Outside<'s> {
    pub fn new(scenario: &'s Scenario, shown: bool) -> Self {
        Self {
            scenario,
            now: Duration::ZERO,
            rng: Rng::with_seed(scenario.seed ^ 0x5eed),
            agenda: Agenda::default(),
            broker: Broker::default(),
            far: FarSide::new(scenario),
            ceilings: Ceilings::new(scenario),
            verity: Verity::new(scenario),
            trace: Trace::new(shown),
            delivery_due: false,
        }
    }

    pub fn after(&mut self, wait: Duration, happening: Happening) {
        self.agenda.enter(self.now + wait, happening, &mut self.rng);
    }

    pub fn at(&mut self, at: Duration, happening: Happening) {
        self.agenda.enter(at, happening, &mut self.rng);
    }

    /// Some time up to `longest`.
    pub fn some_time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }

    /// The broker has something for the consumer, or the consumer has room again.
    pub fn expect_delivery(&mut self) {
        if !self.delivery_due && self.broker.has_ready() {
            self.delivery_due = true;
            self.after(DELIVERY, Happening::Delivery);
        }
    }
}
