//! One seed, played from its beginning to its end: the controller's reigns, one after the other, on the same world.
//!
//! - Each reign is a runtime of its own, on this thread, with a clock that jumps to the next timer when nobody has anything to do.
//! - A reign ends when the controller dies: its runtime is dropped with every task, and the next begins on what is left.

use super::calm;
use super::crew::Crew;
use super::dice::Dice;
use super::faults::{Fault, Weather};
use super::keeper::SimStore;
use super::mischief;
use super::ports::{SimClock, SimDriver, SimExporter};
use super::truth::Truth;
use super::world::World;
use super::{Plan, Ran};
use crate::MemStore;
use engine::{Deadlines, Engine, Ids, PoolSetup, Settings, WhenDown};
use lifecycle::Capabilities;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How many starts of the controller are tried before it is called unable to start.
const STARTS_MAX: u32 = 10_000;

/// Plays a plan.
#[must_use]
pub fn run(plan: &Plan) -> Ran {
    let mut game = Game::new(plan);
    for _ in 0..STARTS_MAX {
        if game.is_over || game.world.lock().violation.is_some() {
            return game.finish();
        }
        game.reign();
    }
    game.world.lock().break_promise("L1: the controller never comes to an end".into());
    game.finish()
}

struct Game {
    world: Arc<World>,
    store: Arc<MemStore>,
    settings: Settings,
    pools: Vec<PoolPlan>,
    crew: Crew,
    dice: Dice,
    steps: u64,
    /// The calm at the end has begun.
    is_ending: bool,
    is_over: bool,
}

/// What differs between the pools of one run.
struct PoolPlan {
    deadlines: Deadlines,
    when_down: WhenDown,
    is_retired: bool,
}

impl Game {
    fn new(plan: &Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let mut chance = dice.fork();
        let weather = Weather::draw(&mut dice.fork(), &plan.without);
        let mut capable = || Capabilities { attached_snapshot: chance.chance(500), online_extend: chance.chance(500) };
        let truth = Truth::new(vec![capable(), capable()], plan.flaws);
        let pools = (0..2).map(|_| PoolPlan::draw(&mut chance)).collect();
        let settings = settings(&mut chance);
        let world = World::new(dice.fork(), weather, truth, plan.is_told);
        let crew = Crew::new(dice.fork());
        let (store, steps) = (Arc::default(), plan.steps);
        Self { world, store, settings, pools, crew, dice, steps, is_ending: false, is_over: false }
    }

    /// The controller lives, until it dies or the end is reached.
    fn reign(&mut self) {
        // Without I/O and on a paused clock nothing of the machine is asked for.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O needs no resource that could be missing");
        let world = self.world.clone();
        runtime.block_on(async {
            world.lock().begin(self.dice.fork());
            tokio::select! {
                biased;
                () = world.death() => {}
                () = self.play() => {}
            }
            world.lock().end();
        });
        drop(runtime);
        if !self.is_over {
            let pause = if self.dice.chance(100) { self.dice.between(1000, 900_000) } else { self.dice.below(3000) };
            self.world.lock().idle(pause);
        }
    }

    async fn play(&mut self) {
        let Some(engine) = self.start().await else {
            // Whoever runs it starts it again.
            self.world.lock().kill();
            return std::future::pending().await;
        };
        while !self.is_ending && self.world.lock().step < self.steps {
            self.world.lock().step += 1;
            mischief::strike(&self.world);
            self.crew.act(&engine, &self.world).await;
        }
        self.is_ending = true;
        calm::play(&self.world, &engine).await;
        self.is_over = true;
    }

    async fn start(&mut self) -> Option<Engine> {
        self.world.lock().note("starts", 0, 0);
        let store = SimStore { world: self.world.clone(), inner: self.store.clone() };
        store.compare();
        for pool in &mut self.pools {
            pool.is_retired = !self.is_ending && self.world.lock().happens(Fault::Retires);
        }
        let pools = self.pools.iter().enumerate().map(|(at, pool)| PoolSetup {
            retired: pool.is_retired,
            deadlines: pool.deadlines,
            when_down: pool.when_down,
            ..PoolSetup::new(format!("pool-{at}"), Arc::new(SimDriver { world: self.world.clone(), pool: at }))
        });
        let exporter = Arc::new(SimExporter(self.world.clone()));
        let clock = Arc::new(SimClock(self.world.clone()));
        Engine::start(Arc::new(store), exporter, clock, pools.collect(), self.settings.clone()).await.ok()
    }

    fn finish(self) -> Ran {
        let mut state = self.world.lock();
        state.tally.seeds = 1;
        state.tally.simulated = state.now();
        Ran { hash: state.hash(), tally: state.tally.clone(), violation: state.violation.clone(), story: state.take_lines() }
    }
}

impl PoolPlan {
    fn draw(dice: &mut Dice) -> Self {
        let mut own = || dice.chance(300).then(|| Duration::from_secs(dice.between(10, 300)));
        let deadlines =
            Deadlines { create: own(), extend: own(), snapshot: own(), delete: own(), attach: own(), ..Deadlines::default() };
        let when_down = if dice.chance(500) { WhenDown::Refuse } else { WhenDown::Queue };
        Self { deadlines, when_down, is_retired: false }
    }
}

fn settings(dice: &mut Dice) -> Settings {
    let ids = Mutex::new(dice.fork());
    let draw = move || {
        let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
        Uuid::from_u64_pair(ids.draw(), ids.draw())
    };
    Settings {
        // So short that tombstones end within a run, and so long that they are met.
        tombstone_life: Duration::from_secs(dice.between(30, 3600)),
        // Now and then so few that calls wait for one.
        places_per_pool: if dice.chance(300) { 2 } else { 32 },
        look_interval: Duration::from_secs(dice.between(10, 120)),
        ids: Ids::new(draw),
        ..Settings::default()
    }
}
