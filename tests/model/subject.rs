//! The core under test: some shards, fed and moved as somebody says.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use churnwatch::cohort::Definitions;
use churnwatch::decode::Refusal;
use churnwatch::gauges;
use churnwatch::proto::LifecycleEvent;
use churnwatch::readings::Readings;
use churnwatch::shard::{Counts, HashKey, Outcome, Shard};
use churnwatch::snapshot;
use churnwatch::time::{Instant, Span};
use prost::Message;

use super::naive::judge;
use super::page::Page;

/// Customers spread over shards, as keys over partitions.
pub struct Subject {
    definitions: Arc<Definitions>,
    shards: Vec<Shard>,
    /// Of each shard: from when on no event can be beyond the horizon, once it may fold.
    horizons: Vec<Option<Instant>>,
    as_of: Option<Instant>,
    /// The messages delivered at least once, and their bytes.
    pub delivered: Vec<LifecycleEvent>,
    payloads: HashSet<Vec<u8>>,
    /// Whether an event has come too late for the promise to hold.
    pub beyond_horizon: bool,
    /// How many pages were compared.
    pub compared: u64,
    /// How often something happened that should not matter.
    pub went_through: BTreeMap<&'static str, u64>,
    /// In how many of them a family was anything but zero.
    pub told: BTreeMap<String, u64>,
}

impl Subject {
    pub fn new(definitions: &Definitions, shards: usize, key: [u8; 16]) -> Self {
        let definitions = Arc::new(definitions.clone());
        Self {
            shards: (0..shards).map(|_| Shard::new(definitions.clone(), HashKey(key))).collect(),
            horizons: vec![None; shards],
            definitions,
            as_of: None,
            delivered: Vec::new(),
            payloads: HashSet::new(),
            beyond_horizon: false,
            compared: 0,
            went_through: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    pub fn as_of(&self) -> Option<Instant> {
        self.as_of
    }

    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    pub fn has_folded(&self) -> bool {
        self.horizons.iter().any(Option::is_some)
    }

    fn note(&mut self, what: &'static str, happened: bool) {
        *self.went_through.entry(what).or_default() += u64::from(happened);
    }

    fn shard_of(&self, message: &LifecycleEvent) -> usize {
        let mut hasher = DefaultHasher::new();
        message.customer_id.hash(&mut hasher);
        (hasher.finish() % self.shards.len() as u64) as usize
    }

    /// Whether folding may have overtaken the event.
    pub fn is_old(&self, message: &LifecycleEvent) -> bool {
        let horizon = self.horizons[self.shard_of(message)];
        judge(message, None).is_ok_and(|event| horizon.is_some_and(|horizon| event.time < horizon))
    }

    /// Delivers a message as bytes, and checks what the core says became of it.
    pub fn deliver(&mut self, message: &LifecycleEvent) -> Result<(), String> {
        let payload = message.encode_to_vec();
        let repeated = !self.payloads.insert(payload.clone());
        let (is_old, has_folded) = (self.is_old(message), self.has_folded());
        let is_late = judge(message, None).is_ok_and(|event| self.as_of.is_some_and(|t| event.time <= t));
        self.note("repeats", repeated);
        self.note("late events", is_late);
        self.note("events after folding", has_folded && is_late);
        let shard = self.shard_of(message);
        let shard = &mut self.shards[shard];
        let before = shard.counts().clone();
        let outcome = shard.consume(Some(&payload), None);
        let after = shard.counts();
        if !repeated {
            self.delivered.push(message.clone());
        }
        let fits = match (judge(message, None), outcome) {
            (Ok(_), Outcome::Applied) => !repeated || has_folded,
            (Ok(_), Outcome::Unchanged) => true,
            (Err(Refusal::Ignored(expected)), Outcome::Ignored(is)) => expected == is,
            (Err(Refusal::Rejected(expected)), Outcome::Rejected(is)) => expected == is,
            _ => false,
        };
        if !fits {
            return Err(format!("{outcome:?} became of {message:?}, repeated: {repeated}"));
        }
        if total(after) != total(&before) + 1 {
            return Err(format!("not counted once: {before:?}, then {after:?}"));
        }
        if after.beyond_horizon > before.beyond_horizon {
            if !is_old {
                return Err(format!("counted as beyond the horizon: {message:?}"));
            }
            self.beyond_horizon = true;
            self.note("events beyond the horizon", true);
        }
        Ok(())
    }

    pub fn advance(&mut self, shard: usize, t: Instant) {
        self.shards[shard].advance(t);
        self.as_of = self.as_of.max(Some(t));
    }

    /// Lets a shard fold what no window as of the latest as-of needs.
    pub fn fold(&mut self, shard: usize) {
        let Some(t) = self.as_of else { return };
        self.note("foldings", true);
        self.shards[shard].fold_before_windows_of(t);
        // "Older than the longest window and one step."
        let kept = self.definitions.longest_window() + self.definitions.grid.step();
        self.horizons[shard] = self.horizons[shard].max(Some(t - kept));
    }

    /// Replaces a shard by what its snapshot restores to, perhaps under other definitions.
    pub fn restore(&mut self, shard: usize, definitions: Option<&Definitions>) -> Result<(), String> {
        if let Some(definitions) = definitions {
            self.definitions = Arc::new(definitions.clone());
        }
        self.note("restores", definitions.is_none());
        self.note("restores under other definitions", definitions.is_some());
        let bytes = self.snapshot(shard)?;
        let (header, restored) = snapshot::read(&mut bytes.as_slice(), self.definitions.clone())
            .map_err(|error| format!("the snapshot of shard {shard} {error}"))?;
        let counted = header.customers as usize;
        if (header.topic.as_str(), header.partition, counted) != ("t", shard as i32, restored.tracked_customers()) {
            return Err(format!("{header:?} of {} customers in shard {shard}", restored.tracked_customers()));
        }
        self.shards[shard] = restored;
        if self.snapshot(shard)? != bytes && definitions.is_none() {
            return Err(format!("the snapshot of the restored shard {shard} has other bytes"));
        }
        // What goes on has its tallies built ahead, for an instant before or after that of the next advance.
        let restores = self.went_through.values().sum::<u64>();
        let as_of = self.as_of;
        let guess = |latest: Option<Instant>| match restores % 4 {
            0 => None,
            1 => latest,
            2 => as_of,
            _ => as_of.map(|t| t + Span::DAY),
        };
        let built = snapshot::read_and_build(&mut bytes.as_slice(), self.definitions.clone(), guess);
        self.shards[shard] = built.map_err(|error| format!("the snapshot of shard {shard} {error}"))?.1;
        Ok(())
    }

    fn snapshot(&self, shard: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        snapshot::write(&self.shards[shard], "t", shard as i32, &mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// The page's text as of an instant, to which every shard is advanced.
    pub fn page(&mut self, t: Instant) -> String {
        let mut readings = Readings::default();
        for shard in 0..self.shards.len() {
            self.advance(shard, t);
            readings.add(self.shards[shard].readings());
        }
        gauges::cohort_page(&self.definitions, &readings, t)
    }

    /// What is wrong with the page as of `t`, against what the events delivered so far say.
    pub fn check(&mut self, t: Instant) -> Result<(), String> {
        let text = self.page(t);
        let page = Page::parse(&text)?;
        let mut wrong = page.violations();
        if !self.beyond_horizon {
            let expected = super::gauges::expected(&self.definitions, &self.delivered, t);
            let told: BTreeSet<_> =
                expected.iter().filter(|(_, value)| *value != 0.0).map(|(s, _)| &s.family).collect();
            self.compared += 1;
            for family in told {
                *self.told.entry(family.clone()).or_default() += 1;
            }
            wrong.extend(expected.differences(&page));
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("as of {t}:\n  {}", wrong.join("\n  "))) }
    }
}

fn total(counts: &Counts) -> u64 {
    let by_kind = [&counts.applied[..], &counts.ignored, &counts.rejected].concat();
    by_kind.iter().sum::<u64>() + counts.unchanged
}
