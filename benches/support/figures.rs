//! Rows of figures, as `target/bench/<bench>.json` and as a table.
//!
//! `against` is a bare measure of the same run (a memory access, a plain consumer): between two runs only the ratio
//! of the two is compared, which a slower or busier machine changes least.

#![expect(clippy::print_stdout, reason = "the table is what a bench is for")]

use std::path::{Path, PathBuf};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub bench: String,
    pub name: String,
    pub value: f64,
    pub unit: String,
    pub against: Option<Against>,
}

/// What a figure is held against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Against {
    pub name: String,
    pub value: f64,
}

impl Row {
    /// The figure as a multiple of what it is held against.
    pub fn ratio(&self) -> Option<f64> {
        self.against.as_ref().map(|against| self.value / against.value)
    }

    /// What can be compared with another run on the same kind of machine: the ratio, or what no clock has a part in.
    pub fn comparable(&self) -> Option<f64> {
        self.ratio().or_else(|| ["bytes", "×"].contains(&self.unit.as_str()).then_some(self.value))
    }
}

/// The rows of one bench.
pub struct Figures {
    bench: &'static str,
    rows: Vec<Row>,
}

impl Figures {
    pub fn new(bench: &'static str) -> Self {
        Self { bench, rows: Vec::new() }
    }

    pub fn push(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.add(name.into(), value, unit, None);
    }

    pub fn push_against(&mut self, name: impl Into<String>, value: f64, unit: &str, against: (&str, f64)) {
        let against = Against { name: against.0.to_owned(), value: against.1 };
        self.add(name.into(), value, unit, Some(against));
    }

    fn add(&mut self, name: String, value: f64, unit: &str, against: Option<Against>) {
        let row = Row { bench: self.bench.to_owned(), name, value, unit: unit.to_owned(), against };
        println!("{:<64} {:>12} {}", row.name, number(row.value), row.unit);
        self.rows.push(row);
    }

    /// Writes the rows where `report` looks for them, and prints their table.
    pub fn finish(self) {
        let folder = target().join("bench");
        std::fs::create_dir_all(&folder).expect("the target folder can be written to");
        let text = serde_json::to_string_pretty(&self.rows).expect("rows are JSON");
        std::fs::write(folder.join(format!("{}.json", self.bench)), text + "\n").expect("the figures can be written");
        let mut table = table(&[self.bench, "value", "unit", "against", "ratio"]);
        for row in &self.rows {
            let against = row.against.as_ref().map(|a| format!("{} ({})", number(a.value), a.name)).unwrap_or_default();
            let ratio = row.ratio().map(number).unwrap_or_default();
            table.add_row([row.name.clone(), number(row.value), row.unit.clone(), against, ratio]);
        }
        println!("\n{table}\n");
    }
}

/// A table without lines, its second column to the right.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(head.to_vec());
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Cargo's target folder.
pub fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the folder for temporary files lies in the target folder")
}

/// Where criterion leaves its estimates.
pub fn criterion_folder() -> PathBuf {
    target().join("criterion")
}

/// The median in nanoseconds that criterion has just found.
pub fn criterion_median(group: &str, function: &str) -> f64 {
    let path = criterion_folder().join(group).join(function).join("new/estimates.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let estimates: serde_json::Value = serde_json::from_str(&text).expect("criterion writes JSON");
    estimates["median"]["point_estimate"].as_f64().expect("criterion estimates the median")
}

pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len();
    (samples[(n - 1) / 2] + samples[n / 2]) / 2.0
}

/// With three to four digits that say something, and thousands apart.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 || v == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        let left = whole.len() - i;
        if i > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}
