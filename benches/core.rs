//! Nanoseconds an event: decode, history and tally of one shard on one core.
//!
//! Decoding is measured by criterion. What changes a shard is not: it takes a fixed log, the same events in every run,
//! so that the figure does not depend on how many iterations somebody chose; each figure is the median of 24 samples of an
//! undisturbed core.
//! A sample is one second of the log's own time (50,176 events, encoded before the clock starts) in batches of 1,024
//! through `Shard::consume_batch`, and what a publication does to the shard, once, within the timed part.
//!
//! `BENCH_CUSTOMERS` lists the numbers of customers (default 1000000,10000000). `BENCH_MIX` names a mix that is all that runs,
//! at the first of these sizes and for longer: for a profiler.

#![expect(clippy::print_stdout, reason = "the measurements are what it is for")]

mod support;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant as Moment;

use churnwatch::decode::Decoder;
use churnwatch::shard::{HashKey, Record, Shard};
use churnwatch::time::Instant;
use criterion::Criterion;
use support::figures::{Figures, criterion_folder, criterion_median, median};
use support::log::{EVENTS_A_SECOND, Log, Mix, definitions};
use support::quiet::Quiet;
use support::reference::{RandomAccess, available_bytes, bytewise_ns};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 1024;
/// Whole batches, for about a second.
const SAMPLE: u64 = EVENTS_A_SECOND.next_multiple_of(BATCH as u64);
const SAMPLES: usize = 24;
const WINDOWS: usize = 5;
const GROUPINGS: usize = 4;
const MILLION: u64 = 1_000_000;
/// What filling a shard takes, the index's growth included.
const BYTES_PER_CUSTOMER: u64 = 130;

fn main() {
    if let Ok(name) = std::env::var("BENCH_MIX") {
        let mix = Mix::ALL.into_iter().find(|mix| mix.name() == name).expect("BENCH_MIX: activity, billing or storm");
        profiled(Shape { mix, customers: customers()[0], windows: WINDOWS, groupings: GROUPINGS });
        return;
    }
    let mut figures = Figures::new("core");
    decode(&mut figures);
    let base = Shape { mix: Mix::Activity, customers: MILLION, windows: WINDOWS, groupings: GROUPINGS };
    let mut quiet = Quiet::new();
    vary(&mut figures, &mut quiet, base, "windows", &[1, 5, 20]);
    vary(&mut figures, &mut quiet, base, "groupings", &[1, 4, 10]);
    sizes(&mut figures, &mut quiet);
    quiet.report(&mut figures);
    figures.finish();
}

/// What is measured.
#[derive(Clone, Copy)]
struct Shape {
    mix: Mix,
    customers: u64,
    windows: usize,
    groupings: usize,
}

/// A shard, and the log that it takes in.
struct Subject {
    shard: Shard,
    log: Log,
}

/// What the events of one second took.
struct Sample {
    ns_an_event: f64,
    /// The publication's part of it.
    publication_ms: f64,
}

impl Subject {
    /// With everybody's past and without tallies: nothing has been published yet.
    fn filled(shape: Shape) -> Self {
        let log = Log::new(shape.mix, shape.customers);
        let mut shard = Shard::new(definitions(shape.windows, shape.groupings), HashKey([7; 16]));
        for event in log.past() {
            shard.consume_message(&event, None);
        }
        Self { shard, log }
    }

    fn sample(&mut self, published: bool) -> Sample {
        let payloads = self.log.take(SAMPLE);
        let records = payloads.records();
        let begun = Moment::now();
        take_in(&mut self.shard, &records);
        let read = begun.elapsed();
        if published {
            move_on(&mut self.shard, self.log.now());
        }
        let all = begun.elapsed();
        Sample { ns_an_event: all.as_nanos() as f64 / SAMPLE as f64, publication_ms: (all - read).as_secs_f64() * 1e3 }
    }

    /// Time alone, five minutes at a time: terms and timeouts of many customers come due.
    fn longest_publication_ms(&mut self) -> f64 {
        let begin = self.log.now().as_millis();
        let steps = (1..=4 * 24 * 12).map(|n| Instant::from_millis(begin + n * 300_000));
        let part = |as_of| {
            let begun = Moment::now();
            move_on(&mut self.shard, as_of);
            begun.elapsed().as_secs_f64() * 1e3
        };
        steps.map(part).fold(0.0, f64::max)
    }

    /// Builds the tallies.
    fn publish(&mut self) {
        self.shard.advance(self.log.now());
    }

    fn median_of(&mut self, quiet: &mut Quiet, published: bool) -> Sample {
        let samples = quiet.samples(SAMPLES, || self.sample(published));
        median_sample(&samples)
    }
}

/// The hot path; never inlined, so that a profile shows it in one piece.
#[inline(never)]
fn take_in(shard: &mut Shard, records: &[Record<'_>]) {
    for batch in records.chunks(BATCH) {
        let taken = shard.consume_batch(batch, |_, outcome| {
            black_box(outcome);
            ControlFlow::Continue(())
        });
        assert_eq!(taken, batch.len());
    }
}

/// What a publication does to a shard.
#[inline(never)]
fn move_on(shard: &mut Shard, as_of: Instant) {
    shard.advance(as_of);
    shard.fold_before_windows_of(as_of);
}

fn median_sample<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Sample {
    let (mut ns, mut ms) = (Vec::new(), Vec::new());
    for sample in samples {
        ns.push(sample.ns_an_event);
        ms.push(sample.publication_ms);
    }
    Sample { ns_an_event: median(&mut ns), publication_ms: median(&mut ms) }
}

fn decode(figures: &mut Figures) {
    let mut criterion = Criterion::default()
        .output_directory(&criterion_folder())
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2))
        .without_plots();
    for mix in Mix::ALL {
        let payloads = Log::new(mix, MILLION).take(16 * BATCH as u64);
        let records = payloads.records();
        let mut decoder = Decoder::default();
        criterion.benchmark_group("decode").bench_function(mix.name(), |bencher| {
            bencher.iter(|| {
                for record in &records {
                    let _ = black_box(decoder.decode(record.payload.unwrap_or_default(), None));
                }
            });
        });
        let events = records.len() as f64;
        let ns = criterion_median("decode", mix.name()) / events;
        let bare = bytewise_ns(payloads.bytes()) / events;
        figures.push_against(format!("decode, {}", mix.name()), ns, "ns/event", ("its bytes one by one", bare));
    }
}

/// One shape beside others that differ in one thing, and by how much the last costs more than the first.
fn vary(figures: &mut Figures, quiet: &mut Quiet, base: Shape, what: &str, values: &[usize]) {
    let memory = RandomAccess::measure(base.customers as usize);
    for mix in [Mix::Activity, Mix::Billing] {
        let shapes = values.iter().map(|&n| match what {
            "windows" => Shape { mix, windows: n, ..base },
            _ => Shape { mix, groupings: n, ..base },
        });
        let mut subjects: Vec<Subject> = shapes.map(Subject::filled).collect();
        subjects.iter_mut().for_each(Subject::publish);
        // They take turns, so that what disturbs the machine disturbs all alike.
        let turns = quiet.samples(SAMPLES, || subjects.iter_mut().map(|s| s.sample(true)).collect::<Vec<_>>());
        let of = |subject: usize| median_sample(turns.iter().filter_map(|turn| turn.get(subject))).ns_an_event;
        let ns: Vec<f64> = (0..subjects.len()).map(of).collect();
        for (n, &ns) in values.iter().zip(&ns) {
            let what = if *n == 1 { what.trim_end_matches('s') } else { what };
            let name = format!("event, {}, 1 M customers, {n} {what}", mix.name());
            figures.push_against(name, ns, "ns/event", ("a random access", memory.latency_ns));
        }
        if let ([few, .., many], [first, .., last]) = (values, &*ns) {
            figures.push(format!("growth, {few} to {many} {what}, {}", mix.name()), last / first, "×");
        }
    }
}

fn customers() -> Vec<u64> {
    let sizes = std::env::var("BENCH_CUSTOMERS").unwrap_or_else(|_| "1000000,10000000".to_owned());
    sizes.split(',').map(|n| n.trim().parse().expect("BENCH_CUSTOMERS: numbers with commas between")).collect()
}

fn profiled(shape: Shape) {
    let mut subject = Subject::filled(shape);
    subject.publish();
    let samples: Vec<Sample> = (0..10 * SAMPLES).map(|_| subject.sample(true)).collect();
    println!("{} ns an event", median_sample(&samples).ns_an_event);
}

fn sizes(figures: &mut Figures, quiet: &mut Quiet) {
    let mut smallest = None;
    for customers in customers() {
        if available_bytes() < customers * BYTES_PER_CUSTOMER {
            println!("{customers} customers do not fit this machine's memory: left out");
            continue;
        }
        let size = format!("{} M customers", customers as f64 / MILLION as f64);
        let memory = RandomAccess::measure(customers as usize);
        figures.push(format!("random access, {size}, one after the other"), memory.latency_ns, "ns");
        figures.push(format!("random access, {size}, 32 in flight"), memory.in_flight_ns, "ns");
        let ns = Mix::ALL.map(|mix| of_size(figures, quiet, mix, customers, &size, &memory));
        let (first_size, first_ns, first_memory) = smallest.get_or_insert((size.clone(), ns, memory.latency_ns));
        if *first_size != size {
            for (mix, (ns, first_ns)) in Mix::ALL.iter().zip(ns.iter().zip(first_ns)) {
                let name = format!("growth, {first_size} to {size}, {}", mix.name());
                let of_memory = memory.latency_ns / *first_memory;
                figures.push_against(name, ns / *first_ns, "×", ("growth of a random access", of_memory));
            }
        }
    }
}

/// Nanoseconds of all three steps.
fn of_size(
    figures: &mut Figures,
    quiet: &mut Quiet,
    mix: Mix,
    customers: u64,
    size: &str,
    memory: &RandomAccess,
) -> f64 {
    let against = ("a random access", memory.latency_ns);
    let mut subject = Subject::filled(Shape { mix, customers, windows: WINDOWS, groupings: GROUPINGS });
    let without_tallies = subject.median_of(quiet, false).ns_an_event;
    let begun = Moment::now();
    subject.publish();
    let built = begun.elapsed().as_secs_f64();
    let Sample { ns_an_event: all, publication_ms } = subject.median_of(quiet, true);
    let mix = mix.name();
    figures.push_against(format!("decode and history, {mix}, {size}"), without_tallies, "ns/event", against);
    figures.push_against(format!("event, {mix}, {size}"), all, "ns/event", against);
    figures.push(format!("tally, {mix}, {size} (the difference)"), all - without_tallies, "ns/event");
    figures.push(format!("a publication's part of that, {mix}, {size}"), publication_ms, "ms");
    figures.push(format!("tallies built from histories, {mix}, {size}"), built, "s");
    let longest = subject.longest_publication_ms();
    figures.push(format!("longest publication's part in 4 days without events, {mix}, {size}"), longest, "ms");
    all
}
