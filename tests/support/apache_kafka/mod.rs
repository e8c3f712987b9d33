//! Apache Kafka in KRaft mode for the tests: clusters of one and of three brokers, started from the project's own
//! jars, or a given one (`KAFKA_BOOTSTRAP_SERVERS`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;

use self::broker::{Broker, More, Ports};
use super::not_run;

pub mod broker;
mod jars;

const PATIENCE: Duration = Duration::from_secs(120);

/// Names a cluster that the tests use instead of their own.
const GIVEN: &str = "KAFKA_BOOTSTRAP_SERVERS";

/// The cluster of all tests that leave its brokers alone: the given one, or one broker of our own. `None` where there
/// is neither, which is said loudly, and a failure in CI.
pub fn shared(test: &str) -> Option<&'static str> {
    static SHARED: OnceLock<String> = OnceLock::new();
    if let Ok(given) = std::env::var(GIVEN) {
        return Some(SHARED.get_or_init(|| given));
    }
    if !available(test) {
        return None;
    }
    Some(SHARED.get_or_init(|| {
        let cluster = Cluster::start(1);
        let servers = cluster.bootstrap_servers();
        // It ends with the process.
        Box::leak(Box::new(cluster));
        servers
    }))
}

/// A cluster whose brokers the test may stop and kill. `None` where there is none, as in [`shared`].
pub fn own(test: &str, brokers: usize) -> Option<Cluster> {
    if std::env::var_os(GIVEN).is_some() {
        not_run(test, &format!("it stops brokers, and those of {GIVEN} are not its own"));
        return None;
    }
    available(test).then(|| Cluster::start(brokers))
}

/// Whether a cluster of our own can be started; says so where not.
pub fn available(test: &str) -> bool {
    match jars::folder() {
        Ok(_) => true,
        Err(missing) => {
            let why = format!("{missing} (Debian: apt install default-jre-headless maven; or name brokers in {GIVEN})");
            not_run(test, &why);
            false
        }
    }
}

/// A cluster of our own, gone when dropped or when this process ends, however it ends.
pub struct Cluster {
    brokers: Vec<Broker>,
    advertised: Vec<u16>,
    #[expect(dead_code, reason = "removes its directory when dropped")]
    directory: Directory,
}

impl Cluster {
    /// Starts brokers and waits until all of them answer.
    pub fn start(brokers: usize) -> Self {
        let ports: Vec<Ports> = (0..brokers).map(|_| Ports::choose()).collect();
        let advertised: Vec<u16> = ports.iter().map(|ports| ports.clients).collect();
        Self::start_at(&ports, &advertised)
    }

    /// Starts one broker that has more than others.
    pub fn start_with(ports: Ports, more: &More) -> Self {
        Self::start_all(&[ports], &[ports.clients], more)
    }

    /// Starts a broker for each of `ports`, of which clients hear that it listens on the one `advertised`.
    pub fn start_at(ports: &[Ports], advertised: &[u16]) -> Self {
        Self::start_all(ports, advertised, &More::default())
    }

    fn start_all(ports: &[Ports], advertised: &[u16], more: &More) -> Self {
        let directory = Directory::new();
        let broker = |i: usize| Broker::new(&directory.0, i, ports, advertised[i], more);
        let brokers = (0..ports.len()).map(broker).collect();
        let mut cluster = Self { brokers, advertised: advertised.to_vec(), directory };
        cluster.brokers.iter_mut().for_each(Broker::start);
        cluster.await_brokers();
        cluster
    }

    pub fn bootstrap_servers(&self) -> String {
        let servers: Vec<String> = self.advertised.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        servers.join(",")
    }

    /// SIGKILL.
    pub fn kill(&mut self, broker: usize) {
        self.brokers[broker].kill();
    }

    /// SIGTERM: the broker hands over what it leads, and ends.
    pub fn stop(&mut self, broker: usize) {
        self.brokers[broker].stop();
    }

    /// Starts a broker again where it was, and waits until every partition has all its replicas in sync.
    pub fn start_again(&mut self, broker: usize) {
        self.brokers[broker].start();
        self.await_brokers();
    }

    /// Waits until all brokers that run are there, and no partition lacks a leader or one of their replicas.
    fn await_brokers(&mut self) {
        let running = self.brokers.iter().filter(|broker| broker.is_running()).count();
        let client: BaseConsumer = client(&self.bootstrap_servers()).create().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(metadata) = client.fetch_metadata(None, Duration::from_secs(5)) {
                let in_sync = metadata.topics().iter().flat_map(MetadataTopic::partitions).all(|partition| {
                    partition.leader() >= 0 && partition.isr().len() >= partition.replicas().len().min(running)
                });
                if metadata.brokers().len() == running && in_sync {
                    return;
                }
            }
            let reports: Vec<String> = self.brokers.iter_mut().map(Broker::report).collect();
            assert!(Instant::now() < deadline, "the brokers do not come up:\n{}", reports.join("\n"));
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

/// A client's configuration that says nothing but where.
pub fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("reconnect.backoff.max.ms", "500");
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    config
}

/// Creates a topic with as many replicas as the brokers have by default, and waits until it can be used.
pub fn create_topic(servers: &str, topic: &str, partitions: i32) {
    // Of records from the past, which carry its time, nothing would stay.
    create_topic_with(servers, topic, partitions, &[("retention.ms", "-1")]);
}

/// The same with these properties of the topic.
pub fn create_topic_with(servers: &str, topic: &str, partitions: i32, properties: &[(&str, &str)]) {
    let admin: AdminClient<_> = client(servers).create().unwrap();
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    new.config = properties.to_vec();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let created = runtime.block_on(admin.create_topics([&new], &options)).unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    super::until("there", || {
        let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE).unwrap();
        let found = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        found.filter(|partition| partition.leader() >= 0).count() == partitions as usize
    });
}

/// A temporary directory that goes when this process does, even where nothing is dropped any more.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("apache-kafka-").tempdir().unwrap().keep();
        Self::remove_at_end(&directory);
        Self(directory)
    }

    /// Brokers that are just being killed may still write: hence the repetition.
    fn remove_at_end(directory: &Path) {
        let waits = "cat >/dev/null; until rm -rf \"$0\"; do sleep 0.1; done";
        let janitor = Command::new("sh")
            .args(["-c", waits])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // Its standard input closes with this process.
        Box::leak(Box::new(janitor.unwrap()));
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
