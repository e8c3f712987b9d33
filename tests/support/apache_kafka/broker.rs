//! One broker, in combined mode: a JVM that dies with this process, whatever happens to it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::jars;
use crate::support::tied::Tied;

/// Any identifier does; all brokers of a cluster need the same.
const CLUSTER_ID: &str = "churnwatch-tests-00000";

/// `$0` cluster, `$1` jars, `$2` properties, `$3` what is there once storage is formatted, and then what else
/// formatting takes.
const SCRIPT: &str = r#"
options='-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error'
jars=$1/* properties=$2 formatted=$3
shift 3
test -e "$formatted" || java $options -cp "$jars" kafka.tools.StorageTool format -t "$0" -c "$properties" "$@" || exit
exec java $options -cp "$jars" kafka.Kafka "$properties"
"#;

/// The ports of one broker.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub clients: u16,
    pub peers: u16,
    pub controller: u16,
}

impl Ports {
    pub fn choose() -> Self {
        Self { clients: free_port(), peers: free_port(), controller: free_port() }
    }
}

/// A port that nobody listens on, outside the range from which outgoing connections take theirs: it is still free
/// when its broker comes back.
pub fn free_port() -> u16 {
    loop {
        let port = 10_000 + (RandomState::new().hash_one(()) % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What a broker has besides what all have.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// Lines of server.properties; they hold where others say otherwise.
    pub properties: String,
    /// Arguments of the formatting of its storage.
    pub format: Vec<String>,
}

/// One broker, running or not.
pub struct Broker {
    directory: PathBuf,
    format: Vec<String>,
    process: Option<Tied>,
}

impl Broker {
    /// The broker `index` of a cluster with these ports; `advertised` is where clients are sent to.
    pub fn new(parent: &Path, index: usize, all: &[Ports], advertised: u16, more: &More) -> Self {
        let directory = parent.join(format!("broker-{}", index + 1));
        fs::create_dir_all(&directory).unwrap();
        let Ports { clients, peers, controller } = all[index];
        let voters: Vec<String> =
            all.iter().enumerate().map(|(i, ports)| format!("{}@127.0.0.1:{}", i + 1, ports.controller)).collect();
        let replicas = all.len().min(3);
        let in_sync = if replicas < 3 { 1 } else { 2 };
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             controller.quorum.voters={voters}\n\
             listeners=CLIENTS://127.0.0.1:{clients},PEERS://127.0.0.1:{peers},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=CLIENTS://127.0.0.1:{advertised},PEERS://127.0.0.1:{peers}\n\
             listener.security.protocol.map=CLIENTS:PLAINTEXT,PEERS:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=PEERS\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={data}\n\
             auto.create.topics.enable=false\n\
             default.replication.factor={replicas}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={replicas}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={in_sync}\n\
             transaction.state.log.num.partitions=4\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             group.consumer.min.session.timeout.ms=1000\n\
             group.consumer.session.timeout.ms=3000\n\
             group.consumer.min.heartbeat.interval.ms=100\n\
             group.consumer.heartbeat.interval.ms=300\n\
             broker.heartbeat.interval.ms=500\n\
             broker.session.timeout.ms=3000\n\
             replica.lag.time.max.ms=5000\n\
             log.cleaner.enable=false\n\
             num.network.threads=2\n\
             num.io.threads=4\n\
             {more}\n",
            more = more.properties,
            id = index + 1,
            voters = voters.join(","),
            data = directory.join("data").display(),
        );
        fs::write(directory.join("server.properties"), properties).unwrap();
        Self { directory, format: more.format.clone(), process: None }
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it, on what it left where it ran before. Returns before it answers.
    pub fn start(&mut self) {
        assert!(!self.is_running());
        let mut java = Command::new("sh");
        java.args(["-c", SCRIPT, CLUSTER_ID])
            .arg(jars::folder().unwrap())
            .arg(self.directory.join("server.properties"))
            .arg(self.directory.join("data/meta.properties"))
            .args(&self.format);
        self.process = Some(Tied::spawn(&mut java, &self.directory.join("log")));
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; returns when it has handed its partitions over and is gone.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("TERM");
            process.wait();
        }
    }

    /// What it has written, and whether it still runs.
    pub fn report(&mut self) -> String {
        let ended = self.process.as_mut().map(Tied::ended);
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        format!("{}: {ended:?}\n{log}", self.directory.display())
    }
}
