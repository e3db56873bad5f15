//! One store's days, served by two instances of ordering.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use contract::event::OrderPlaced;
use contract::{OrderId, Reason, StoreId};
use event_log::disturbed::Disturbed;
use event_log::sqlite::SqliteLog;
use jiff::{SignedDuration, Timestamp};
use ordering::catalog::Store;
use ordering::domain::{
    Actor, CloseBusinessDay, Command, CommandId, Principal, RefundLine, StoreState,
};
use ordering::ledger::{Answer, CommandIndex, Executed, Ledger, Verdict, Work};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use runtime::Clock;

use super::menus::menus;
use super::rival::Contested;
use super::tally::Tally;
use super::till::Till;

/// Commands of one history, about.
const COMMANDS: usize = 170;
/// What no command of a history may be refused for.
const FAULTS: [Reason; 8] = [
    Reason::Internal,
    Reason::LedgerBroken,
    Reason::LogChanged,
    Reason::IdReused,
    Reason::UpgradeRequired,
    Reason::TooManyKinds,
    Reason::AmountOutOfRange,
    Reason::OrderTooLarge,
];

/// An instance of ordering, as far as one store goes.
pub struct Instance {
    log: Arc<Disturbed<Contested>>,
    /// The file that it keeps.
    index: &'static str,
    /// The file that it has since its last start.
    index_now: String,
    /// A snapshot of an earlier time.
    snapshot: Option<Vec<u8>>,
    pub(super) ledger: Ledger,
    /// Which menu it has: a new one reaches each instance by itself.
    menu: usize,
}

pub struct History {
    pub till: Till,
    pub directory: tempfile::TempDir,
    pub tally: Tally,
    /// What orders with a quote were promised.
    pub promised: BTreeMap<OrderId, OrderPlaced>,
    pub(super) instances: [Instance; 2],
    pub(super) stores: Vec<Arc<Store>>,
    pub(super) clock: Clock,
    pub(super) orders: Vec<(OrderId, Vec<RefundLine>)>,
    /// Everything accepted, with its first answer.
    accepted: Vec<(Work, Answer)>,
}

async fn open(log: &Arc<Disturbed<Contested>>, index: &Path) -> Result<Ledger> {
    let index = CommandIndex::open(index).await?;
    Ok(Ledger::open(log.clone(), index, StoreId::new("london")?).await?)
}

impl History {
    pub async fn begin(seed: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("log.db");
        let begin = async |log: SqliteLog, index: &'static str| -> Result<Instance> {
            let log = Disturbed::new(Arc::new(log), Contested::default());
            let ledger = open(&log, &directory.path().join(index)).await?;
            Ok(Instance {
                log,
                index,
                index_now: index.to_owned(),
                snapshot: None,
                ledger,
                menu: 0,
            })
        };
        let one = begin(SqliteLog::create(&path).await?, "one.db").await?;
        let two = begin(SqliteLog::open(&path).await?, "two.db").await?;
        let mut till = Till::new(seed)?;
        // A few days before a clock change, of which there are two.
        let start: Timestamp = till
            .one_of(&["2017-03-24T09:00:00Z", "2016-10-28T09:00:00Z"])?
            .parse()?;
        Ok(Self {
            till,
            directory,
            tally: Tally::default(),
            promised: BTreeMap::new(),
            instances: [one, two],
            stores: menus()?,
            clock: Clock::manual(start),
            orders: Vec::new(),
            accepted: Vec::new(),
        })
    }

    pub fn log(&self) -> Arc<Disturbed<Contested>> {
        self.instances[0].log.clone()
    }

    pub fn store_id(&self) -> StoreId {
        self.stores[0].id.clone()
    }

    /// Orders that are owed an answer of the member service, as each instance has it.
    pub async fn owed(&mut self) -> Result<[Vec<OrderId>; 2]> {
        let mut owed = [Vec::new(), Vec::new()];
        for (instance, owed) in self.instances.iter_mut().zip(&mut owed) {
            instance.ledger.look().await?;
            *owed = instance.ledger.state().unresolved.keys().copied().collect();
        }
        Ok(owed)
    }

    pub fn store(&self, instance: usize) -> Arc<Store> {
        self.stores[self.instances[instance].menu].clone()
    }

    fn instance(&mut self) -> usize {
        usize::from(self.till.chance(0.4))
    }

    fn work(&self, (command, actor): (Command, Actor), instance: usize) -> Work {
        Work::new(command, actor, self.store(instance))
    }

    /// Several commands at once, of one instance or of both; some of them are sent twice, as a till does that hears nothing.
    async fn several(&mut self) -> Result<usize> {
        let count = self.till.random.random_range(1..=6);
        let (both, one) = (self.till.chance(0.4), self.instance());
        let mut lots = [Vec::new(), Vec::new()];
        for _ in 0..count {
            let instance = if both { self.instance() } else { one };
            if let Some(command) = self.command(instance)? {
                lots[instance].push(self.work(command, instance));
            }
        }
        if both && self.till.chance(0.4) {
            let from = self.instance();
            if let Some(twin) = lots[from].choose(&mut self.till.random).cloned() {
                let store = self.store(1 - from);
                lots[1 - from].push(Work { store, ..twin });
            }
        } else if self.till.chance(0.2)
            && let Some(twin) = lots[one].choose(&mut self.till.random).cloned()
        {
            lots[one].push(twin);
        }
        self.carry_out(lots).await?;
        Ok(count)
    }

    async fn carry_out(&mut self, lots: [Vec<Work>; 2]) -> Result<()> {
        if self.instances[0].menu != self.instances[1].menu {
            self.tally.add("instances with different menus");
        }
        let (clock, [one, two]) = (&self.clock, &mut self.instances);
        // Whoever is first, the other decides again: this alone is not the same for the same seed.
        let (first, second) = tokio::join!(
            one.ledger.execute(&lots[0], clock),
            two.ledger.execute(&lots[1], clock)
        );
        first.ended?;
        second.ended?;
        let [first_lot, second_lot] = lots;
        let alone = first_lot.is_empty() || second_lot.is_empty();
        let works = first_lot.into_iter().chain(second_lot);
        let mut told: BTreeMap<CommandId, Vec<(Work, Answer)>> = BTreeMap::new();
        for (work, verdict) in works.zip(first.verdicts.into_iter().chain(second.verdicts)) {
            if let Some(answer) = self.accepted(&work, verdict)? {
                // What the system decides by itself has no id, and is no repeat of anything.
                match work.command.id() {
                    Some(id) => told.entry(id).or_default().push((work, answer)),
                    None => ensure!(!answer.replayed, "what has no id was taken for a repeat"),
                }
            }
        }
        for answers in told.into_values() {
            self.recorded_once(answers, alone)?;
        }
        Ok(())
    }

    fn accepted(&mut self, work: &Work, verdict: Verdict) -> Result<Option<Answer>> {
        match verdict {
            Ok(answer) => Ok(Some(answer)),
            Err(rejection) => {
                ensure!(
                    !FAULTS.contains(&rejection.reason),
                    "{rejection}: {:?}",
                    work.command
                );
                self.tally
                    .add(format!("refused {}", rejection.reason.as_str()));
                Ok(None)
            }
        }
    }

    /// However often a new command was sent at once, it was recorded once, and everybody was told the same.
    fn recorded_once(&mut self, mut answers: Vec<(Work, Answer)>, alone: bool) -> Result<()> {
        let fresh = answers.iter().position(|(_, answer)| !answer.replayed);
        let fresh = fresh.context("a new command was taken for a repeat")?;
        let (work, answer) = answers.remove(fresh);
        // Two instances whose clocks say the same may have made the very same record of it: then it is the first answer of both.
        for (_, other) in &answers {
            same(&work, &answer, other)?;
            self.tally.add(if alone {
                "a command sent twice at once, recorded once"
            } else {
                "a command sent to both instances, recorded once"
            });
        }
        if let Command::PlaceOrder(place) = &work.command
            && let Some(quoted) = &place.quoted
        {
            self.promised.insert(place.order_id, (**quoted).clone());
        }
        self.accepted.push((work, answer));
        Ok(())
    }

    /// A repeat of anything, at any time, from any instance: the first answer, whatever the menu says by now.
    async fn repeat(&mut self) -> Result<()> {
        let Some((work, first)) = self.accepted.choose(&mut self.till.random).cloned() else {
            return Ok(());
        };
        // Later than what it repeats: at the same instant another instance might make the very same record of it.
        self.clock.advance(SignedDuration::from_millis(1));
        let instance = self.instance();
        let store = self.store(instance);
        let Executed {
            mut verdicts,
            ended,
        } = self.instances[instance]
            .ledger
            .execute(
                &[Work {
                    store,
                    ..work.clone()
                }],
                &self.clock,
            )
            .await;
        ended?;
        let again = verdicts.remove(0)?;
        ensure!(
            again.replayed,
            "a repeat was recorded again: {:?}",
            work.command
        );
        self.tally.add("a repeat");
        same(&work, &first, &again)
    }

    /// A new menu, which reaches one instance or both.
    fn change_menu(&mut self) -> Result<()> {
        let menu = self.till.random.random_range(0..self.stores.len());
        for instance in self.till.one_of(&[vec![0], vec![1], vec![0, 1]])? {
            self.instances[instance].menu = menu;
        }
        Ok(())
    }

    /// A quote of one instance, honoured by any a while later, although the menu may have changed.
    async fn quoted(&mut self) -> Result<()> {
        let instance = self.instance();
        let Some(quote) = self.till.quote(&self.store(instance), self.clock.now())? else {
            return Ok(());
        };
        if self.till.chance(0.7) {
            self.change_menu()?;
        }
        let minutes = self.till.random.random_range(0..20);
        self.clock.advance(SignedDuration::from_mins(minutes));
        let now = self.clock.now();
        let Some(place) = self.till.quoted_sale(quote, now)? else {
            self.tally.add("a quote that had expired");
            return Ok(());
        };
        let instance = self.instance();
        let actor = Actor {
            principal: Principal::TILL,
            client_time: Some(now),
            ..Actor::default()
        };
        let command = (self.new_order(place), actor);
        let mut lots = [Vec::new(), Vec::new()];
        lots[instance].push(self.work(command, instance));
        let before = self.promised.len();
        self.carry_out(lots).await?;
        ensure!(self.promised.len() == before + 1, "a quote was refused");
        self.tally.add("an order as quoted");
        Ok(())
    }

    /// With the index that was there and whatever snapshot, or with neither. It makes no difference to what is answered.
    async fn restart(&mut self, step: usize) -> Result<()> {
        let (number, with_index) = (self.instance(), self.till.chance(0.7));
        let instance = &mut self.instances[number];
        instance.ledger.look().await?;
        let before = (instance.ledger.revision(), instance.ledger.state().clone());
        let mut all_in_snapshot = false;
        if with_index {
            self.tally.add("a restart with the index that was there");
            all_in_snapshot = self.choose_snapshot(number).await?;
        } else {
            self.tally.add("a restart without an index");
            self.instances[number].index_now = format!("new-{step}.db");
        }
        let instance = &mut self.instances[number];
        let index = self.directory.path().join(&instance.index_now);
        instance.ledger = open(&instance.log, &index).await?;
        ensure!(
            !all_in_snapshot || instance.ledger.folded() == 0,
            "a snapshot was not used"
        );
        ensure!(
            instance.ledger.revision() == before.0
                && in_common(&before.1, instance.ledger.state())
                    == in_common(instance.ledger.state(), &before.1),
            "a restart made another state: {:#?}\n{:#?}",
            before.1,
            instance.ledger.state()
        );
        Ok(())
    }

    /// What an instance finds of its snapshots at its next start, with the index that it keeps. Whether it is one of all that there is.
    async fn choose_snapshot(&mut self, number: usize) -> Result<bool> {
        let what = self.till.random.random_range(0..5);
        let at = self.till.random.random_range(0..1_000_usize);
        let instance = &mut self.instances[number];
        // One that it made beside the index of this start.
        let made = instance.ledger.snapshot().await && instance.index_now == instance.index;
        instance.index_now = instance.index.to_owned();
        let path = self
            .directory
            .path()
            .join(format!("{}-snapshots", instance.index))
            .join(format!("{}.snapshot", self.stores[0].id));
        let Ok(bytes) = std::fs::read(&path) else {
            return Ok(false);
        };
        let older = instance.snapshot.replace(bytes.clone());
        match what {
            0 => {
                std::fs::remove_file(&path)?;
                self.tally.add("a restart without a snapshot");
            }
            1 => {
                let mut damaged = bytes;
                let at = damaged.len() * at / 1_000;
                damaged[at] ^= 0x10;
                std::fs::write(&path, damaged)?;
                self.tally.add("a restart with a damaged snapshot");
            }
            2 => {
                std::fs::write(&path, &bytes[..bytes.len() * at / 1_000])?;
                self.tally.add("a restart with a snapshot that is cut off");
            }
            3 => {
                if let Some(older) = older {
                    std::fs::write(&path, older)?;
                    self.tally.add("a restart with an older snapshot");
                }
            }
            _ => {
                self.tally
                    .add_many("a restart from a snapshot", usize::from(made));
                return Ok(made);
            }
        }
        Ok(false)
    }

    pub async fn run(&mut self) -> Result<()> {
        let (mut commands, mut step) = (0, 0);
        while commands < COMMANDS {
            step += 1;
            let minutes = if self.till.chance(0.12) {
                self.till.random.random_range(60..1_200)
            } else {
                self.till.random.random_range(0..50)
            };
            self.clock.advance(SignedDuration::from_mins(minutes));
            commands += match self.till.random.random_range(0..100) {
                0..=13 => self.repeat().await.map(|()| 1)?,
                14..=18 => self.restart(step).await.map(|()| 1)?,
                19..=26 => self.change_menu().map(|()| 0)?,
                27..=40 => self.quoted().await.map(|()| 1)?,
                _ => self.several().await?,
            };
        }
        for _ in 0..10 {
            self.repeat().await?;
        }
        self.close_last_day().await?;
        let lost = self
            .instances
            .iter()
            .map(|instance| instance.log.disturbance.lost());
        self.tally
            .add_many("an append lost to the other instance", lost.sum());
        Ok(())
    }

    async fn close_last_day(&mut self) -> Result<()> {
        let ledger = &mut self.instances[0].ledger;
        ledger.look().await?;
        let Some(day) = &ledger.state().day else {
            return Ok(());
        };
        let (business_date, end) = (day.date, day.end);
        self.clock.set(end.max(self.clock.now()));
        let close = Command::CloseBusinessDay(CloseBusinessDay {
            business_date,
            manual: None,
        });
        let actor = Actor {
            principal: Principal::TILL,
            client_time: Some(self.clock.now()),
            ..Actor::default()
        };
        let close = self.work((close, actor), 0);
        self.carry_out([vec![close], vec![]]).await?;
        ensure!(
            self.instances[0].ledger.state().day.is_none(),
            "the last day was not closed"
        );
        Ok(())
    }
}

/// A state without the orders that another does not have in memory: it reads them from the log.
fn in_common(state: &StoreState, other: &StoreState) -> StoreState {
    let mut common = state.clone();
    for (id, open) in &other.open_orders {
        if let Some(own) = common.open_orders.get_mut(id)
            && open.order.is_none()
        {
            own.order = None;
        }
    }
    common
}

fn same(work: &Work, first: &Answer, again: &Answer) -> Result<()> {
    ensure!(
        again.view(&work.store.id) == first.view(&work.store.id)
            && again.fact == first.fact
            && again.revision == first.revision,
        "a repeat was answered otherwise: {:?}",
        work.command
    );
    Ok(())
}
