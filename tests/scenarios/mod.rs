//! The contract as text: what is written in `*.txt` beside this file holds for the naive model and for
//! the core, whatever the order of arrival. [`script`] says how to write one.

use std::path::{Path, PathBuf};

use churnwatch::proto::LifecycleEvent;
use churnwatch::time::Instant;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::model::gauges;
use crate::model::page::Page;
use crate::model::subject::Subject;
use script::{Line, Scenario};

mod rejections;
mod script;

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(directory).expect("the directory of this file");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Plays every scenario. `page` makes the page at each as-of from the messages before it, those since the
/// last as-of apart.
fn play<S>(
    new: impl Fn(&Scenario) -> S,
    page: impl Fn(&mut S, &Scenario, &[LifecycleEvent], &[LifecycleEvent], Instant) -> Result<Page, String>,
) {
    let mut failures = Vec::new();
    for file in files() {
        for scenario in script::read(&file) {
            let mut state = new(&scenario);
            let (mut before, mut since) = (Vec::new(), Vec::new());
            let mut now = Page::default();
            for (number, line) in &scenario.lines {
                let name = file.file_name().unwrap_or_default().display();
                let at = format!("tests/scenarios/{name}:{number}: {}", scenario.title);
                match line {
                    Line::Events(events) => since.extend(events.iter().cloned()),
                    Line::AsOf(t) => {
                        match page(&mut state, &scenario, &before, &since, *t) {
                            Ok(page) => now = page,
                            Err(wrong) => failures.push(format!("{at}: {wrong}")),
                        }
                        before.append(&mut since);
                    }
                    Line::Expect(expectation) => {
                        failures.extend(expectation.failure(&now).map(|wrong| format!("{at}: {wrong}")));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_naive_model_says_so() {
    play(
        |_| (),
        |(), scenario, before, since, t| {
            let page = gauges::expected(&scenario.definitions, &[before, since].concat(), t);
            let wrong = page.violations();
            if wrong.is_empty() { Ok(page) } else { Err(wrong.join("\n")) }
        },
    );
}

/// Delivers, checks the whole page against the model's, and reads it.
fn deliver(subject: &mut Subject, messages: &[LifecycleEvent], t: Instant) -> Result<Page, String> {
    for message in messages {
        subject.deliver(message)?;
    }
    subject.check(t)?;
    Page::parse(&subject.page(t))
}

#[test]
fn the_core_says_so_in_the_order_given() {
    play(
        |scenario| Subject::new(&scenario.definitions, 1, [1; 16]),
        |subject, _, _, since, t| deliver(subject, since, t),
    );
}

#[test]
fn the_core_says_so_when_all_arrives_backwards() {
    play(
        |_| (),
        |(), scenario, before, since, t| {
            let mut messages = [before, since].concat();
            messages.reverse();
            deliver(&mut Subject::new(&scenario.definitions, 1, [2; 16]), &messages, t)
        },
    );
}

#[test]
fn the_core_says_so_with_repeats_in_any_order_through_snapshots() {
    play(
        |scenario| (Subject::new(&scenario.definitions, 2, [3; 16]), ChaCha8Rng::seed_from_u64(3)),
        |(subject, rng), _, before, since, t| {
            let repeated = before.iter().step_by(2);
            let mut messages: Vec<_> = since.iter().chain(since).chain(repeated).cloned().collect();
            messages.shuffle(rng);
            let (early, late) = messages.split_at(messages.len() / 2);
            deliver(subject, early, subject.as_of().unwrap_or(t))?;
            for shard in 0..subject.shards() {
                subject.restore(shard, None)?;
            }
            deliver(subject, late, t)
        },
    );
}
