//! Brokers, the proxies before them, the store, the instances and the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant as Moment};

use churnwatch::cohort::Definitions;
use churnwatch::settings;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::fault::{Fault, Undo};
use super::fleet::{Fleet, Process, binary};
use super::log::Log;
use super::numbers::{additive_families, counts, difference, union, value};
use super::store::{Store, newest};
use super::table::Outcome;
use crate::kafka;
use crate::store::moto::Moto;
use crate::support::apache_kafka::broker::Ports;
use crate::support::apache_kafka::{self, Cluster};
use crate::support::proxy::{Proxy, Traffic};

/// `session.timeout.ms`
pub const SESSION: Duration = Duration::from_secs(4);
/// How long until the numbers must be right.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a sum that is whole may differ: a page says that nothing is left to read of what was there when its round
/// began.
const ROUND: Duration = Duration::from_secs(2);
const TOPIC: &str = "customer-lifecycle";

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub partitions: i32,
    pub instances: usize,
    pub customers: usize,
    pub events_per_part: usize,
    /// Whether all kinds of faults come, and two at once, too.
    pub long: bool,
}

impl Scale {
    /// For a run of so many faults.
    pub fn of(faults: usize, events: usize, long: bool) -> Self {
        Self {
            partitions: if long { 12 } else { 6 },
            instances: if long { 3 } else { 2 },
            customers: events / 10 + 1,
            events_per_part: events.div_ceil(faults + 1),
            long,
        }
    }
}

pub struct World {
    pub scale: Scale,
    pub random: ChaCha8Rng,
    pub cluster: Cluster,
    pub proxies: Vec<Proxy>,
    pub store: Store,
    pub fleet: Fleet,
    log: Option<Log>,
    definitions: Definitions,
    config: PathBuf,
    deck: Vec<Fault>,
    directory: TempDir,
}

impl World {
    /// With snapshots on a disk, or in the bucket of a server.
    pub fn new(seed: u64, scale: Scale, bucket: Option<Moto>) -> Self {
        let ports: Vec<Ports> = (0..3).map(|_| Ports::choose()).collect();
        let proxies: Vec<Proxy> = ports.iter().map(|ports| Proxy::start(ports.clients)).collect();
        let advertised: Vec<u16> = proxies.iter().map(|proxy| proxy.port).collect();
        let cluster = Cluster::start_at(&ports, &advertised);
        let servers = cluster.bootstrap_servers();
        apache_kafka::create_topic(&servers, TOPIC, scale.partitions);

        let directory = tempfile::tempdir().unwrap();
        let store = match bucket {
            Some(server) => Store::bucket(server),
            None => Store::disk(directory.path()),
        };
        let text = configuration(&servers, &store.url());
        let config = directory.path().join("churnwatch.toml");
        fs::write(&config, &text).unwrap();
        let definitions = settings::parse("chaos.toml", &text, Path::new(""), [], &[]).unwrap().definitions();
        let events = directory.path().join("events.pb");
        let log = Log::new(seed, &servers, TOPIC, scale.partitions, scale.customers, &definitions, events);
        let fleet = Fleet::new(config.clone(), store.environment(), directory.path().join("logs"), scale.instances);
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self {
            scale,
            random,
            cluster,
            proxies,
            store,
            fleet,
            log: Some(log),
            definitions,
            config,
            deck: Vec::new(),
            directory,
        }
    }

    /// The next fault or two: all kinds in turn, in an order by chance.
    pub fn choose(&mut self, number: usize, faults: usize) -> Vec<Fault> {
        let all = Fault::deck(self);
        if self.deck.is_empty() {
            self.deck.clone_from(&all);
            self.deck.shuffle(&mut self.random);
        }
        let mut chosen = vec![self.deck.pop().unwrap()];
        if self.scale.long && number + 1 < faults && self.random.random_ratio(1, 4) {
            let place = chosen[0].place();
            let elsewhere: Vec<Fault> = all.into_iter().filter(|fault| fault.place() != place).collect();
            chosen.extend(elsewhere.choose(&mut self.random));
        }
        chosen.sort_by_key(|fault| fault.place());
        chosen
    }

    /// Writes a part of the log, and lets something happen in its midst. Returns when that began.
    pub fn write_part(&mut self, happens: impl FnOnce(&mut Self)) -> Moment {
        const PIECES: usize = 20;
        let mut log = self.log.take().unwrap();
        let piece = self.scale.events_per_part / PIECES + 1;
        log.begin_part();
        log.write(piece);
        let begun = Moment::now();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for _ in 1..PIECES {
                    log.write(piece);
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            });
            happens(self);
            writing.join().unwrap();
        });
        log.end_part();
        self.log = Some(log);
        begun
    }

    pub fn let_all(&self, traffic: Traffic) -> Undo {
        self.proxies.iter().for_each(|proxy| proxy.set(traffic));
        Undo::LetFlow
    }

    /// Waits until the sum over all instances is what the log amounts to, and says how long after `begun` that was;
    /// or gives up.
    pub fn await_right_numbers(&mut self, begun: Moment) -> Outcome {
        let log = self.log.as_mut().unwrap();
        let as_of = log.as_of();
        let page = log.page(&self.definitions);
        let families = additive_families(&page);
        let expected = counts(&page, &families);
        assert!(!expected.is_empty());
        let deadline = Moment::now() + PATIENCE;
        let mut wrong_since = None;
        loop {
            self.fleet.supervise();
            let pages: Vec<String> = self.fleet.processes.iter_mut().filter_map(Process::metrics).collect();
            let union = union(&pages, &families, self.scale.partitions as usize, as_of);
            let differs = difference(&union.counts, &expected);
            let took = begun.elapsed();
            let (lost, double) = differs.as_ref().map_or((0, 0), |differs| (differs.lost, differs.double));
            let wrong = match (union.partial, differs) {
                (None, None) => {
                    if let [alone] = &pages[..] {
                        assert!(alone.contains(&page), "{}", kafka::fixture::difference(alone, &page));
                    }
                    return Outcome { took, ..Outcome::default() };
                }
                (None, Some(difference)) => {
                    wrong_since.get_or_insert_with(Moment::now);
                    format!("every partition is published once, and yet: {difference:?}")
                }
                (Some(partial), _) => {
                    wrong_since = None;
                    format!("{} instances answer, {partial}", pages.len())
                }
            };
            if wrong_since.is_some_and(|since| since.elapsed() > ROUND) || Moment::now() > deadline {
                let wrong = Some(format!("{wrong}\n{}", self.fleet.last_words()));
                return Outcome { took, lost, double, wrong };
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// A part with one event of each customer.
    pub fn write_customers(&mut self) -> Moment {
        let begun = Moment::now();
        let log = self.log.as_mut().unwrap();
        log.begin_part();
        log.write_each_customer_once();
        log.end_part();
        begun
    }

    /// Waits until the newest snapshots cover all there is.
    pub fn await_snapshots(&mut self) {
        let written = self.log.as_ref().unwrap().len() as i64;
        crate::support::until("saved", || {
            let newest = self.store.folders().iter().filter_map(|folder| newest(folder)).collect::<Vec<_>>();
            let offset = |file: &PathBuf| -> i64 {
                let name = file.file_stem().unwrap().to_str().unwrap();
                name.rsplit('-').next().unwrap().parse().unwrap()
            };
            newest.iter().map(offset).sum::<i64>() == written
        });
    }

    /// Waits until the instances say that they have all partitions; how long after `begun` that was.
    pub fn await_assigned(&mut self, begun: Moment) -> Duration {
        let partitions = f64::from(self.scale.partitions);
        crate::support::until("assigned", || {
            let pages = self.fleet.processes.iter_mut().filter_map(Process::metrics);
            pages.filter_map(|page| value(&page, "churnwatch_partitions_assigned")).sum::<f64>() == partitions
        });
        begun.elapsed()
    }

    /// Compares with what the command makes of the whole log.
    pub fn compare_with_replay(&mut self) {
        let log = self.log.as_mut().unwrap();
        let as_of = log.as_of();
        let page = log.page(&self.definitions);
        let events = log.len();
        let out = Command::new(binary())
            .args(["replay", "--quiet", "--as-of", &as_of.to_string(), "--config"])
            .arg(&self.config)
            .arg(log.flushed())
            .output()
            .unwrap();
        let replayed = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(replayed == page, "{}", kafka::fixture::difference(&replayed, &page));
        println!("replay of all {events} events in {}: the same", self.directory.path().display());
    }
}

fn configuration(servers: &str, store: &str) -> String {
    format!(
        r#"
        [kafka]
        brokers = ["{servers}"]
        topics = ["{TOPIC}"]
        [kafka.librdkafka]
        "session.timeout.ms" = {session_ms}
        "heartbeat.interval.ms" = 400
        "reconnect.backoff.max.ms" = 1000
        [time]
        clock = "event"
        complete_since = 2025-01-01T00:00:00Z
        [windows]
        lengths = ["1d", "30d"]
        [snapshot]
        store = "{store}"
        interval = "1s"
        [http]
        listen = "127.0.0.1:0"
        publish_interval = "200ms"
        [[dimensions]]
        name = "plan"
        [[dimensions]]
        name = "region"
        [[groupings]]
        by = ["plan", "region"]
        "#,
        servers = servers.replace(',', "\", \""),
        session_ms = SESSION.as_millis(),
    )
}
