//! The demo: its population counted by the core and shown in its table, and the command itself.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use churnwatch::cohort::Definitions;
use churnwatch::demo;
use churnwatch::demo::delivery::{Deliveries, Delivery};
use churnwatch::demo::page::Page;
use churnwatch::demo::population::{LIVE, Population, SPIKE, SPIKE_COHORT};
use churnwatch::demo::table::Board;
use churnwatch::gauges;
use churnwatch::shard::{HashKey, Shard};
use churnwatch::time::{Instant, Span};

/// The board after so many days of life, published twice a day.
fn watch(seed: u64, customers: usize, days: i64, mut each: impl FnMut(Instant, &Page, &Board)) -> Board {
    let definitions: Arc<Definitions> = Arc::new(demo::settings().unwrap().definitions());
    let mut shard = Shard::new(definitions.clone(), HashKey([7; 16]));
    let mut board = Board::new();
    let mut next = LIVE;
    for Delivery { at, event } in Deliveries::new(Population::new(seed, customers), seed) {
        while at >= next {
            // Only the clock has moved since the last event, by less than the time to this one.
            shard.advance(next);
            let page = Page::parse(&gauges::cohort_page(&definitions, &shard.readings(), next));
            board.update(next, &page);
            each(next, &page, &board);
            shard.fold_before_windows_of(next);
            next = next + Span::from_millis(Span::DAY.as_millis() / 2);
        }
        if at >= LIVE + Span::days(days) {
            break;
        }
        shard.consume_message(&event, None);
    }
    let counts = shard.counts();
    assert_eq!((counts.rejected, counts.ignored), Default::default());
    assert_eq!(counts.beyond_horizon, 0);
    board
}

#[test]
fn the_spike_is_marked_in_its_cohort_and_nowhere_else() {
    for seed in [42, 4] {
        let board = watch(seed, 10_000, 28, |_, _, _| {});
        let spikes: Vec<_> = board.spikes().collect();
        let [spike] = spikes[..] else { panic!("seed {seed}: {spikes:?}") };
        assert_eq!(spike.cohort, SPIKE_COHORT, "seed {seed}");
        assert!(spike.since > SPIKE && spike.since <= SPIKE + Span::days(2), "seed {seed}: {spike:?}");
        assert!(spike.peak_ratio > 0.12 && spike.others_ratio < 0.02, "seed {seed}: {spike:?}");
    }
}

#[test]
fn every_number_in_the_table_is_there_from_the_first_day_and_base_churn_is_believable() {
    let mut first = true;
    watch(42, 20_000, 1, |as_of, page, board| {
        if std::mem::take(&mut first) {
            let text = board.render(&Default::default(), false);
            assert!(!text.contains('–'), "as of {as_of}:\n{text}");
            let everyone =
                page.value("churnwatch_churn_ratio", &[("cohort_by", "everyone"), ("window", "30d")]).unwrap();
            assert!((0.03..0.05).contains(&everyone), "{everyone}");
        }
    });
    assert!(!first);
}

/// The demo as a user starts it, on a free port unless told otherwise.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_churnwatch"));
    command.arg("demo").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap()
}

/// The number before a word in a text.
fn number(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().filter(|before| before.len() < text.len());
    let number = before.and_then(|before| before.split_whitespace().last());
    number.unwrap_or_else(|| panic!("no {word:?} in {text}")).replace(',', "").parse().unwrap()
}

#[test]
fn a_demo_for_some_seconds_shows_the_spike_loses_nothing_and_ends_well() {
    // Half as fast as it could be: other tests want the processor, too.
    let arguments = ["--for", "20s", "--speed", "2d", "--customers", "5000", "--listen", "127.0.0.1:0"];
    let output = command(&arguments).output().unwrap();
    let text = stdout(&output);
    let produced = number(text, " produced");
    assert!(produced > 20_000, "{text}");
    assert_eq!(number(text, " consumed"), produced);
    assert_eq!(number(text, " ignored") + number(text, " rejected"), 0);
    assert!(number(text, " unchanged") > produced / 100, "{text}");
    assert!(text.lines().next().unwrap().contains(" 2026-01-"), "the past is shown: {text}");
    assert!(text.contains("spike       basic · eu since 2026-01-2"), "{text}");
    assert!(!text.contains('\x1b'), "no terminal, no colours: {text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn what_the_table_shows_is_what_a_scrape_gets_until_ctrl_c() {
    let mut child = command(&["--customers", "1000", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find(|line| line.starts_with("http://127.0.0.1:") && line.ends_with("/metrics")).unwrap();
    let everyone = lines.find(|line| line.starts_with(" everyone")).unwrap();

    let page = Page::parse(&ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap());
    let customers = page.value("churnwatch_customers", &[("cohort_by", "everyone")]).unwrap();
    let shown: f64 = everyone.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap();
    assert!((customers - shown).abs() < 20.0, "{customers} scraped, {shown} shown");

    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let rest: Vec<_> = lines.collect();
    assert!(child.wait().unwrap().success(), "{rest:#?}");
    assert!(rest.iter().any(|line| line.starts_with("The demo ended as of ")), "{rest:#?}");
}

#[test]
fn a_port_in_use_is_said_and_another_one_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&["--for", "2s", "--customers", "200", "--listen", &address]).output().unwrap();
    let text = stdout(&output);
    let notice = String::from_utf8_lossy(&output.stderr);
    assert!(notice.starts_with(&format!("{address} is in use: /metrics is served on 127.0.0.1:")), "{notice}");
    assert!(text.contains("were served at http://127.0.0.1:") && !text.contains(&address), "{text}");
}

#[test]
fn a_seed_repeats_what_is_counted() {
    let counted = |seed: &str| {
        // So slow that nothing but the past is seen.
        let arguments =
            ["--for", "2s", "--speed", "1m", "--customers", "300", "--seed", seed, "--listen", "127.0.0.1:0"];
        let output = command(&arguments).output().unwrap();
        let text = stdout(&output).to_owned();
        (number(&text, " applied"), text.lines().find(|line| line.starts_with("customers")).unwrap().to_owned())
    };
    let once = counted("5");
    assert_eq!(once, counted("5"));
    assert_ne!(once, counted("6"));
}
