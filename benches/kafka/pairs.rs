//! `run` and the bare consumer in turns, over the same topic.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Sizes;
use crate::bare::{self, Cost, Use};
use crate::figures::{Figures, median};
use crate::page;
use crate::process::{Run, all_cpu_s, cpu_s, peak_bytes};
use crate::topic::{LAST, Topic};

/// Compares on a topic of so many records; the rows' names end in `where_to`. The bare consumer fetches so many bytes of a partition.
pub fn compare(
    topic: &Topic,
    records: u64,
    sizes: &Sizes,
    bare_fetch_bytes: Option<u32>,
    where_to: &str,
    figures: &mut Figures,
) {
    println!("{records} records in {} partitions{where_to}, {} customers", topic.partitions, sizes.customers);
    let (mut bare, mut runs, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..sizes.pairs {
        // Whoever is first may find the broker less warm.
        let first_run = pair % 2 == 1;
        if first_run {
            runs.push(read(topic, records));
        }
        bare.push(bare::run(topic, records, Use::Count, bare_fetch_bytes));
        floor.push(bare::run(topic, records, Use::Table, None));
        if !first_run {
            runs.push(read(topic, records));
        }
        let (bare, (run, _), floor) = (bare[pair], runs[pair], floor[pair]);
        println!(
            "pair {pair}: bare {:.2} M/s, {:.3} CPU-s a million; with a table {:.2} M/s, {:.3}; run {:.2} M/s, {:.3}",
            bare.rate / 1e6,
            bare.cpu_s * 1e6 / records as f64,
            floor.rate / 1e6,
            floor.cpu_s * 1e6 / records as f64,
            run.rate / 1e6,
            run.cpu_s * 1e6 / records as f64
        );
    }
    let (run, mut counted): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
    let cores = std::thread::available_parallelism().expect("there is one").get() as f64;
    let of = |costs: &[Cost], what: fn(&Cost) -> f64| median(&mut costs.iter().map(what).collect::<Vec<_>>());
    for (name, what, scale, unit) in [
        ("rate", (|cost| cost.rate) as fn(&Cost) -> f64, 1.0, "events/s"),
        ("CPU-seconds a million events", |cost| cost.cpu_s, 1e6 / records as f64, "s"),
        ("CPU-seconds a million events with the broker's", |cost| cost.all_cpu_s, 1e6 / records as f64, "s"),
        ("peak memory", |cost| cost.peak_bytes, 1.0, "bytes"),
    ] {
        let against = of(&bare, what) * scale;
        figures.push_against(
            format!("run, {name}{where_to}"),
            of(&run, what) * scale,
            unit,
            ("bare consumer", against),
        );
        let name = format!("decoding into a flat table, {name}{where_to}");
        figures.push_against(name, of(&floor, what) * scale, unit, ("bare consumer", against));
    }
    // What the machine itself allows, whatever is done on which thread.
    let most = cores * records as f64 / of(&run, |cost| cost.all_cpu_s);
    for (name, rate) in
        [("rate until every record is counted", median(&mut counted)), ("rate if no core ever paused", most)]
    {
        let name = format!("run, {name}{where_to}");
        figures.push_against(name, rate, "events/s", ("bare consumer", of(&bare, |cost| cost.rate)));
    }
}

/// Has `run` read the topic from its beginning, with one worker, until the gauges show the last events. With the rate until
/// all records are counted, of which the first publication builds its tallies then.
fn read(topic: &Topic, records: u64) -> (Cost, f64) {
    let directory = tempfile::tempdir().expect("a directory");
    let more = "[time]\nclock = \"event\"\n[http]\nlisten = \"127.0.0.1:0\"\npublish_interval = \"1s\"\n";
    let config = configuration(topic, directory.path(), "pairs", "1h", more);
    let before_cpu_s = all_cpu_s();
    let run = Run::start(&config);
    // Whoever looks more often is a part of the cost.
    let look = Duration::from_millis(50);
    let (begun, before) = run.until(look, |text| match page::records(text) {
        0 => None,
        some => Some((Instant::now(), some)),
    });
    let mut counted_seconds = None;
    run.until(look, |text| {
        if page::records(text) == records {
            counted_seconds.get_or_insert_with(|| begun.elapsed().as_secs_f64());
        }
        (page::on_plan(text, LAST) == topic.partitions as u64).then_some(())
    });
    let seconds = begun.elapsed().as_secs_f64();
    let all_cpu_s = all_cpu_s() - before_cpu_s;
    assert_eq!(page::records(&run.page()), records, "every record is counted once");
    let rate = |seconds| (records - before) as f64 / seconds;
    let cost = Cost { rate: rate(seconds), cpu_s: cpu_s(run.id()), all_cpu_s, peak_bytes: peak_bytes(run.id()) };
    (cost, rate(counted_seconds.unwrap_or(seconds)))
}

/// Writes the configuration of one worker, by plan, with snapshots in the directory.
pub fn configuration(
    topic: &Topic,
    directory: &Path,
    group: &str,
    snapshot_interval: &str,
    more: &str,
) -> std::path::PathBuf {
    let Topic { servers, name, .. } = topic;
    let store = directory.join("snapshots");
    let text = format!(
        "[kafka]\n\
         brokers = [\"{}\"]\n\
         topics = [\"{name}\"]\n\
         group_id = \"{group}-{}\"\n\
         workers = 1\n\
         [lifecycle]\n\
         inactivity_timeout = \"60d\"\n\
         [snapshot]\n\
         store = \"file://{}\"\n\
         interval = \"{snapshot_interval}\"\n\
         {more}\n\
         [[dimensions]]\n\
         name = \"plan\"\n\
         [[dimensions]]\n\
         name = \"segment\"\n\
         [[groupings]]\n\
         by = [\"plan\"]\n",
        servers.replace(',', "\", \""),
        directory.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
        store.display()
    );
    let path = directory.join("churnwatch.toml");
    std::fs::write(&path, text).expect("the directory can be written to");
    path
}
