//! What the faults did, as the table in docs/operations.md.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fault::Fault;

pub struct Table {
    seed: u64,
    rows: BTreeMap<Fault, Row>,
    faults: usize,
}

#[derive(Default)]
struct Row {
    times: usize,
    /// Together with another one.
    combined: usize,
    longest: Duration,
    exits: usize,
}

impl Table {
    pub fn new(seed: u64) -> Self {
        Self { seed, rows: BTreeMap::new(), faults: 0 }
    }

    /// Adds faults that happened at once, after which the numbers were right again.
    pub fn add(&mut self, faults: &[Fault], took: Duration, exits: usize) {
        for fault in faults {
            let row = self.rows.entry(*fault).or_default();
            row.times += 1;
            row.combined += usize::from(faults.len() > 1);
            row.longest = row.longest.max(took);
            row.exits += exits;
            self.faults += 1;
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} faults, CHURNWATCH_SEED={}", self.faults, self.seed)?;
        writeln!(
            f,
            "| fault | times | with another | lost | double | ended by itself | right again, at most so long after it began |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for (fault, row) in &self.rows {
            let Row { times, combined, longest, exits } = row;
            let (words, longest) = (fault.words(), longest.as_secs_f64());
            // A fault is entered here only once every series was equal.
            writeln!(f, "| {words} | {times} | {combined} | 0 | 0 | {exits} | {longest:.1} s |")?;
        }
        Ok(())
    }
}
