//! Rows of figures, as `target/bench/<bench>.json` and as lines.

use std::path::Path;

use serde::Serialize;

/// One figure.
#[derive(Serialize)]
struct Row {
    bench: &'static str,
    name: String,
    value: f64,
    unit: String,
    against: Option<Against>,
}

/// What a figure is held against.
#[derive(Serialize)]
struct Against {
    name: String,
    value: f64,
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
        let ratio = against.as_ref().map(|a| format!(" ({:.3} of {} {:.3})", value / a.value, a.name, a.value));
        println!("{name:<72} {value:>14.3} {unit}{}", ratio.unwrap_or_default());
        self.rows.push(Row { bench: self.bench, name, value, unit: unit.to_owned(), against });
    }

    /// Writes the rows.
    pub fn finish(self) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        std::fs::create_dir_all(&folder).expect("the target folder can be written to");
        let text = serde_json::to_string_pretty(&self.rows).expect("rows are JSON");
        std::fs::write(folder.join(format!("{}.json", self.bench)), text + "\n").expect("the figures can be written");
    }
}

pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len();
    (samples[(n - 1) / 2] + samples[n / 2]) / 2.0
}
