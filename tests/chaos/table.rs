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
    lost: i64,
    double: i64,
}

/// What came of a fault.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How long after the fault began the numbers were right, or given up.
    pub took: Duration,
    /// By how much series were below what they should be when it was given up, all together, and above.
    pub lost: i64,
    pub double: i64,
    /// What was wrong then.
    pub wrong: Option<String>,
}

impl Table {
    pub fn new(seed: u64) -> Self {
        Self { seed, rows: BTreeMap::new(), faults: 0 }
    }

    /// Adds faults that happened at once, and what came of them.
    pub fn add(&mut self, faults: &[Fault], outcome: &Outcome, exits: usize) {
        for fault in faults {
            let row = self.rows.entry(*fault).or_default();
            row.times += 1;
            row.combined += usize::from(faults.len() > 1);
            row.longest = row.longest.max(outcome.took);
            row.lost += outcome.lost;
            row.double += outcome.double;
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
            let Row { times, combined, longest, exits, lost, double } = row;
            let (words, longest) = (fault.words(), longest.as_secs_f64());
            writeln!(f, "| {words} | {times} | {combined} | {lost} | {double} | {exits} | {longest:.1} s |")?;
        }
        Ok(())
    }
}
