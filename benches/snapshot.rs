//! Snapshots and restoring: bytes, seconds, and for how long at a time a snapshot holds up the events.
//!
//! The customers lie in eight partitions of one worker (half with terms, half without). Each partition in turn is
//! snapshotted in slices while all of them take in batches of 1,024 events; then all are restored, and brought to the
//! as-of of a first publication: the time until an instance is ready, but for what its brokers take to answer and what
//! was written meanwhile to be read. `BENCH_CUSTOMERS` lists the numbers of customers (default 1000000,10000000).

#![expect(clippy::print_stdout, reason = "the measurements are what it is for")]

mod support;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant as Moment;

use bytes::Bytes;
use churnwatch::cohort::Definitions;
use churnwatch::kafka::TopicPartition;
use churnwatch::settings::{self, StoreUrl};
use churnwatch::shard::{HashKey, Shard};
use churnwatch::snapshot::{self, SLICE_BYTES, Slices};
use churnwatch::store::Store;
use churnwatch::time::{Instant, Span};
use support::figures::Figures;
use support::log::{Log, Mix, definitions};
use support::quiet::Quiet;
use support::reference::available_bytes;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u64 = 8;
const BATCH: u64 = 1024;
const WINDOWS: usize = 5;
const GROUPINGS: usize = 4;
/// Batches of each partition before its first snapshot, and behind its last.
const UNDISTURBED: usize = 50;
/// With its snapshot, in memory and on the disk, and some room.
const BYTES_PER_CUSTOMER: u64 = 300;
/// Between the end of an instance and the first publication of the next one.
const DOWN: Span = Span::from_millis(20_000);

fn main() {
    let mut figures = Figures::new("snapshot");
    let mut quiet = Quiet::new();
    let sizes = std::env::var("BENCH_CUSTOMERS").unwrap_or_else(|_| "1000000,10000000".to_owned());
    for size in sizes.split(',') {
        let customers: u64 = size.trim().parse().expect("BENCH_CUSTOMERS: numbers with commas between");
        if available_bytes() < customers * BYTES_PER_CUSTOMER {
            println!("{customers} customers do not fit this machine's memory: left out");
            continue;
        }
        measure(&mut figures, &mut quiet, customers);
    }
    quiet.report(&mut figures);
    figures.finish();
}

fn measure(figures: &mut Figures, quiet: &mut Quiet, customers: u64) {
    let definitions = definitions(WINDOWS, GROUPINGS);
    let whole = format!("{} M customers", customers as f64 / 1e6);
    let size = format!("{whole} in {PARTITIONS} partitions");
    let mut partitions: Vec<Partition> =
        (0..PARTITIONS).map(|number| Partition::filled(&definitions, number, customers / PARTITIONS)).collect();

    let taken = snapshot_all(&mut partitions);
    let bytes: u64 = taken.snapshots.iter().flatten().map(|part| part.len() as u64).sum();
    let copy_s = copy(&taken.snapshots);
    figures.push(format!("bytes a customer, {size}"), bytes as f64 / customers as f64, "bytes");
    figures.push(format!("copying the snapshots' bytes, {size}"), copy_s, "s");
    let copied = ("copying its bytes", copy_s);
    figures.push_against(format!("serialising, {size}"), taken.serialising_s, "s", copied);
    figures.push(format!("longest pause, {size}"), taken.longest_pause_s * 1e3, "ms");
    figures.push(format!("longest batch of 1,024 events meanwhile, {size}"), taken.longest_batch_s * 1e3, "ms");
    let undisturbed = ("without a snapshot", taken.ns_undisturbed);
    figures.push_against(format!("event while a snapshot is under way, {size}"), taken.ns_meanwhile, "ns", undisturbed);

    let as_of = partitions.iter().filter_map(|p| p.shard.latest_event()).max().expect("there were events") + DOWN;
    drop(partitions);
    let folder = tempfile::tempdir_in(support::figures::target()).expect("the target folder can be written to");
    let url = StoreUrl::Directory(folder.path().to_owned());
    let settings = settings::Snapshot { store: url, ..settings::Settings::default().snapshot };
    let store = Store::open(&settings).expect("an empty folder is a store");
    let begun = Moment::now();
    for (number, parts) in taken.snapshots.into_iter().enumerate() {
        let epoch = store.claim(&partition(number)).expect("nobody else claims it");
        store.save(&partition(number), epoch, 0, parts).expect("there is room for a snapshot");
    }
    figures.push_against(format!("written durably, {size}"), begun.elapsed().as_secs_f64(), "s", copied);

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        let restart = || {
            let (begun, begun_cpu_s) = (Moment::now(), cpu_s());
            let mut shards = restore_all(&store, &definitions, threads);
            let restored_s = begun.elapsed().as_secs_f64();
            for shard in &mut shards {
                shard.advance(as_of);
                black_box(shard.readings());
            }
            assert_eq!(shards.iter().map(Shard::tracked_customers).sum::<usize>() as u64 / customers, 1);
            [restored_s, begun.elapsed().as_secs_f64(), cpu_s() - begun_cpu_s]
        };
        let restarts = quiet.samples(1, restart);
        let &[restored_s, all_s, cpu_s] = restarts.first().expect("one is taken at least");
        let name = format!("restored with tallies by {threads} threads, {size}");
        figures.push_against(name, restored_s, "s", copied);
        figures.push(format!("first readings then, {threads} threads, {size}"), all_s - restored_s, "s");
        if threads == cores {
            figures.push_against(format!("restart to ready, {whole}"), all_s, "s", copied);
            figures.push(format!("CPU-seconds of that, {whole}"), cpu_s, "s");
        }
    }
}

/// A shard, and the events that come to it.
struct Partition {
    shard: Shard,
    log: Log,
}

impl Partition {
    fn filled(definitions: &Arc<Definitions>, number: u64, customers: u64) -> Self {
        let mix = if number.is_multiple_of(2) { Mix::Activity } else { Mix::Billing };
        let log = Log::new(mix, customers);
        let mut shard = Shard::new(definitions.clone(), HashKey([number as u8; 16]));
        for message in log.past() {
            shard.consume_message(&message, None);
        }
        shard.advance(log.now());
        Self { shard, log }
    }

    /// How many seconds the next batch takes.
    fn take_batch(&mut self) -> f64 {
        let payloads = self.log.take(BATCH);
        let records = payloads.records();
        let begun = Moment::now();
        self.shard.consume_batch(&records, |_, outcome| {
            black_box(outcome);
            ControlFlow::Continue(())
        });
        begun.elapsed().as_secs_f64()
    }
}

struct Taken {
    snapshots: Vec<Vec<Bytes>>,
    serialising_s: f64,
    longest_pause_s: f64,
    longest_batch_s: f64,
    ns_meanwhile: f64,
    ns_undisturbed: f64,
}

/// What a worker does: a batch of every partition, a slice, and so on.
fn snapshot_all(partitions: &mut [Partition]) -> Taken {
    let mut undisturbed = Vec::new();
    for _ in 0..UNDISTURBED {
        undisturbed.extend(partitions.iter_mut().map(Partition::take_batch));
    }
    let (mut snapshots, mut slices, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..partitions.len() {
        let begun = Moment::now();
        let mut snapshot = begin(&mut partitions[number].shard, number);
        let mut pause = begun;
        loop {
            let done = snapshot.step(&mut partitions[number].shard, &mut SLICE_BYTES.clone());
            slices.push(pause.elapsed().as_secs_f64());
            if done.expect("memory takes any length") {
                break;
            }
            batches.extend(partitions.iter_mut().map(Partition::take_batch));
            pause = Moment::now();
        }
        let begun = Moment::now();
        snapshots.push(snapshot.finish(&mut partitions[number].shard).expect("it is done"));
        slices.push(begun.elapsed().as_secs_f64());
    }
    let ns = |batches: &[f64]| batches.iter().sum::<f64>() / (batches.len() as u64 * BATCH) as f64 * 1e9;
    let longest = |seconds: &[f64]| seconds.iter().copied().fold(0.0, f64::max);
    Taken {
        snapshots,
        serialising_s: slices.iter().sum(),
        longest_pause_s: longest(&slices),
        longest_batch_s: longest(&batches),
        ns_meanwhile: ns(&batches),
        ns_undisturbed: ns(&undisturbed),
    }
}

fn begin(shard: &mut Shard, number: usize) -> Slices {
    let partition = partition(number);
    Slices::begin(shard, &partition.topic, partition.partition).expect("memory takes any length")
}

/// Seconds for a bare copy to fresh memory.
fn copy(snapshots: &[Vec<Bytes>]) -> f64 {
    let begun = Moment::now();
    let copies: Vec<Vec<u8>> = snapshots.iter().flatten().map(|part| part.to_vec()).collect();
    black_box(copies);
    begun.elapsed().as_secs_f64()
}

/// What this process has used so far.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold blanks: user and system time, in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn restore_all(store: &Store, definitions: &Arc<Definitions>, threads: usize) -> Vec<Shard> {
    let next = AtomicUsize::new(0);
    let restore = || {
        let mut shards = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number as u64 >= PARTITIONS {
                return shards;
            }
            let as_of = |latest: Option<Instant>| latest;
            let read =
                |input: &mut dyn std::io::Read| snapshot::read_and_build(&mut { input }, definitions.clone(), as_of);
            let restored = store.restore(&partition(number), read).expect("it was saved");
            shards.push(restored.newest.expect("it was saved").value);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(restore)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("restoring does not panic")).collect()
    })
}

fn partition(number: usize) -> TopicPartition {
    TopicPartition { topic: "customer-lifecycle".into(), partition: number as i32 }
}
