//! One Kafka partition's share of the whole: decode → history → tally, and what a snapshot saves.
//!
//! A rebalance moves shards, nothing else.

mod chunks;
mod contribution;
mod customers;
mod deadlines;
mod dimensions;
mod folding;
mod frozen;
mod index;
mod intake;
mod state;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use state::State;

use contribution::Contribution;
use customers::{CustomerId, CustomerKey, Customers};
use deadlines::Deadlines;
use dimensions::{Dimensions, GroupingPlan};
use folding::Round;
use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher13 as SipHasher13x128;
use values::Values;

use crate::cohort::Definitions;
use crate::decode::Decoder;
use crate::event::{Ignored, Kind, Rejection};
use crate::history::fold::Folding;
use crate::history::timeline::{Evaluator, Timeline};
use crate::history::{History, SubscriptionId, codec};
use crate::readings::{CohortName, CohortReading, Readings};
use crate::tally::Tally;
use crate::time::{Boundary, Instant};

/// How many histories are fetched from memory at a time: several times what a processor keeps on their way, since it waits
/// for the last ones of each block alone.
const BLOCK: usize = 64;

/// Room for so many customers whose time has come is kept for the next ones.
const DUE_KEPT: usize = 1 << 16;

/// The secret under which customer ids are hashed; chosen at random for a new shard, kept in its snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The history is different now.
    Applied,
    /// A duplicate, or superseded by what is known already.
    Unchanged,
    Ignored(Ignored),
    Rejected(Rejection),
}

/// A record as a shard takes it in.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The message (`None`: a tombstone), or why the record holds none.
    pub payload: Result<Option<&'a [u8]>, Rejection>,
    /// An event later than this is rejected; `None` accepts any.
    pub latest_event_time: Option<Instant>,
}

/// How many records had which outcome. Every record read is counted exactly once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By [`Kind::index`].
    pub applied: [u64; Kind::NAMES.len()],
    pub unchanged: u64,
    /// By position in [`Ignored::ALL`].
    pub ignored: [u64; Ignored::ALL.len()],
    /// By position in [`Rejection::ALL`].
    pub rejected: [u64; Rejection::ALL.len()],
    /// Of the applied: those so old that folding hides their exact effect.
    pub beyond_horizon: u64,
}

/// Histories, tallies and the next offset of one partition.
pub struct Shard {
    definitions: Arc<Definitions>,
    key: HashKey,
    /// The attributes that dimensions ask for; their places are the slots in histories.
    attributes: Vec<String>,
    values: Values,
    customers: Customers,
    next_offset: i64,
    earliest_event: Option<Instant>,
    latest_event: Option<Instant>,
    /// Histories may be folded up to this instant.
    frontier: Option<Instant>,
    fold_round: Round,
    /// Some history has been folded up to this instant.
    folded_before: Option<Instant>,
    tallies: Option<Tallies>,
    /// Where tallies stood that were given up: as-of does not go behind that.
    given_up_as_of: Option<Instant>,
    counts: Counts,
    decoder: Decoder,
    scratch: Scratch,
}

/// What is derived from the histories as of one instant.
struct Tallies {
    as_of: Instant,
    /// Whether nobody has asked for this instant yet, and the first advance may be to an earlier one.
    is_guess: bool,
    /// How many events have come since that were not due yet.
    notes_ahead: usize,
    /// No window starts before it any more.
    floor: Boundary,
    plans: Vec<GroupingPlan>,
    by_grouping: Vec<Tally>,
    dimensions: Dimensions,
    deadlines: Deadlines,
}

/// Buffers that every event reuses.
#[derive(Default)]
struct Scratch {
    history: History,
    spare: History,
    bytes: Vec<u8>,
    evaluator: Evaluator,
    folding: Folding,
    before: Timeline,
    after: Timeline,
    contribution: Contribution,
    due: Vec<CustomerId>,
}

impl Shard {
    /// An empty shard, whose records are read from offset 0 on.
    pub fn new(definitions: Arc<Definitions>, key: HashKey) -> Self {
        let attributes = dimensions::attributes(&definitions);
        Self {
            definitions,
            key,
            attributes,
            values: Values::new(),
            customers: Customers::new(),
            next_offset: 0,
            earliest_event: None,
            latest_event: None,
            frontier: None,
            fold_round: Round::default(),
            folded_before: None,
            tallies: None,
            given_up_as_of: None,
            counts: Counts::default(),
            decoder: Decoder::default(),
            scratch: Scratch::default(),
        }
    }

    /// Replaces what the timeline `before` of the customer whose history is loaded contributed by what `after` does.
    fn recount(&mut self, customer: CustomerId, before: &Timeline, after: &Timeline) {
        if !after.same_contribution(before) {
            self.contribute(before, after);
        }
        if let (Some(at), Some(tallies)) = (after.changes_at, &mut self.tallies) {
            let as_of = tallies.as_of;
            // What is later than the as-of and only prolongs is not noted itself: the note of the end it puts off is.
            let not_noted = before.changes_at.is_some() && self.scratch.history.is_known_after(as_of);
            if not_noted || before.changes_at.is_none_or(|noted| at < noted) {
                tallies.deadlines.note(customer, at, as_of);
            }
            if not_noted {
                self.bound_notes_ahead();
            }
        }
    }

    /// Moves the as-of to `t`, builds the tallies where there are none, and lets everything run out that
    /// runs out by then. An earlier `t` than the last is ignored: as-of never goes backwards.
    pub fn advance(&mut self, t: Instant) {
        let guessed = self.tallies.as_mut().is_some_and(|tallies| std::mem::take(&mut tallies.is_guess));
        match &self.tallies {
            None => self.build(self.given_up_as_of.map_or(t, |last| last.max(t))),
            Some(tallies) if guessed && t < tallies.as_of => self.build(t),
            Some(tallies) if tallies.as_of < t => self.run_out(t),
            Some(_) => {}
        }
    }

    fn build(&mut self, t: Instant) {
        // Folded further, a history would not tell any more what it counts for in these tallies.
        self.frontier = self.frontier.min(Some(self.frontier_as_of(t)));
        let definitions = &self.definitions;
        let floor = self.earliest_start(t);
        self.tallies = Some(Tallies {
            as_of: t,
            is_guess: false,
            notes_ahead: 0,
            floor,
            plans: GroupingPlan::all(definitions, &self.attributes),
            by_grouping: definitions.groupings.iter().map(|_| Tally::default()).collect(),
            dimensions: Dimensions::new(definitions.zone.clone()),
            deadlines: Deadlines::default(),
        });
        let nothing = Timeline::default();
        let mut after = std::mem::take(&mut self.scratch.after);
        for customer in self.customers.ids() {
            self.load(customer);
            self.evaluate(t, &mut after);
            self.recount(customer, &nothing, &after);
        }
        self.scratch.after = after;
    }

    fn run_out(&mut self, t: Instant) {
        let floor = self.earliest_start(t);
        let Some(tallies) = &mut self.tallies else { return };
        let was = tallies.as_of;
        tallies.as_of = t;
        tallies.notes_ahead = 0;
        let mut due = std::mem::take(&mut self.scratch.due);
        tallies.deadlines.take_due(t, &mut due);
        let (mut before, mut after) =
            (std::mem::take(&mut self.scratch.before), std::mem::take(&mut self.scratch.after));
        for block in due.chunks(BLOCK) {
            self.customers.ask_for(block);
            for &customer in block {
                self.load(customer);
                self.evaluate(t, &mut after);
                if !after.cut(&self.scratch.history, was, &mut before) {
                    self.evaluate(was, &mut before);
                }
                // Whatever was noted for this customer is taken out: note it afresh.
                before.changes_at = None;
                self.recount(customer, &before, &after);
            }
        }
        (self.scratch.before, self.scratch.after) = (before, after);
        // Once, after a long time, they may be everybody: four bytes for each, for good.
        due.clear();
        due.shrink_to(DUE_KEPT);
        self.scratch.due = due;
        if let Some(tallies) = &mut self.tallies {
            tallies.floor = floor;
            tallies.by_grouping.iter_mut().for_each(|tally| tally.sweep(floor));
        }
    }

    /// Where the longest window as of `t` starts.
    fn earliest_start(&self, t: Instant) -> Boundary {
        self.definitions.grid.at_or_before(t - self.definitions.longest_window())
    }

    /// The instant the tallies stand at: that of the last [`Self::advance`].
    pub fn as_of(&self) -> Option<Instant> {
        self.tallies.as_ref().map(|tallies| tallies.as_of)
    }

    /// The largest `event_time` accepted so far.
    pub fn latest_event(&self) -> Option<Instant> {
        self.latest_event
    }

    /// The numbers as of [`Self::as_of`]; nothing before the first [`Self::advance`].
    pub fn readings(&self) -> Readings {
        let Some(tallies) = &self.tallies else { return Readings::default() };
        let windows = &self.definitions.windows;
        let grid = self.definitions.grid;
        let starts: Vec<Boundary> =
            windows.iter().map(|window| grid.at_or_before(tallies.as_of - window.length)).collect();
        let mut groupings = vec![BTreeMap::<CohortName, CohortReading>::new(); tallies.plans.len()];
        for grouping in GroupingPlan::finest_first(&tallies.plans) {
            let finer = tallies.plans[grouping].finer.as_ref();
            let mut cohorts = finer.map(|finer| finer.add_up(&groupings[finer.grouping])).unwrap_or_default();
            tallies.by_grouping[grouping].read(&starts, |name, reading| {
                let name = name.iter().map(|&value| self.values.text(value).into()).collect();
                if finer.is_none() {
                    cohorts.insert(name, reading);
                } else if let Some(sum) = cohorts.get_mut(&name) {
                    sum.set_moved(&reading);
                }
            });
            groupings[grouping] = cohorts;
        }
        Readings {
            // What has not happened yet as of now is no history.
            earliest_event: self.earliest_event.filter(|&earliest| earliest <= tallies.as_of),
            folded_before: self.folded_before,
            groupings,
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many customers have a history here.
    pub fn tracked_customers(&self) -> usize {
        self.customers.len()
    }

    /// How many customers have more history than fits their record.
    pub fn spilled_customers(&self) -> usize {
        self.customers.spilled()
    }

    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// The offset of the first record that is not in the histories yet.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    pub fn set_next_offset(&mut self, offset: i64) {
        self.next_offset = offset;
    }

    #[inline]
    fn customer_key(&self, customer_id: &[u8]) -> CustomerKey {
        let hasher = SipHasher13x128::new_with_key(&self.key.0);
        hasher.hash(customer_id).as_bytes()
    }

    fn subscription_id(&self, id: &[u8]) -> SubscriptionId {
        if id.is_empty() {
            return 0;
        }
        // 0 is the empty id's alone.
        SipHasher13::new_with_key(&self.key.0).hash(id).max(1)
    }

    /// Unpacks a customer's history into the scratch.
    fn load(&mut self, customer: CustomerId) {
        let bytes = self.customers.history(customer);
        codec::decode_again(bytes, &mut self.scratch.history)
            .expect("histories are checked when a snapshot is restored and packed by the same codec since");
    }

    fn pack(&mut self) {
        self.scratch.bytes.clear();
        codec::encode(&self.scratch.history, &mut self.scratch.bytes);
    }

    /// The loaded history as of `t`.
    fn evaluate(&mut self, t: Instant, timeline: &mut Timeline) {
        let Scratch { history, evaluator, .. } = &mut self.scratch;
        evaluator.evaluate(history, &self.definitions.lifecycle, self.attributes.len(), t, timeline);
    }

    /// The stored history as of `t`, whatever is loaded; it stays loaded.
    fn evaluate_stored(&mut self, customer: CustomerId, t: Instant, timeline: &mut Timeline) {
        let changed = std::mem::take(&mut self.scratch.history);
        std::mem::swap(&mut self.scratch.history, &mut self.scratch.spare);
        self.load(customer);
        self.evaluate(t, timeline);
        self.scratch.spare = std::mem::replace(&mut self.scratch.history, changed);
    }

    /// Replaces what the timeline `before` contributed by what `after` does.
    fn contribute(&mut self, before: &Timeline, after: &Timeline) {
        let Some(tallies) = &mut self.tallies else { return };
        let Tallies { floor, plans, by_grouping, dimensions, .. } = tallies;
        let contribution = &mut self.scratch.contribution;
        contribution.find([before, after], self.definitions.grid, *floor);
        let moved = contribution.has_moves();
        for (plan, tally) in plans.iter().zip(by_grouping).filter(|(plan, _)| plan.counts(moved)) {
            contribution.apply([before, after], plan, dimensions, &mut self.values, tally);
        }
    }
}
