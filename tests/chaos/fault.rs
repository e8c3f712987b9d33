//! What goes wrong, and how it is mended.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::store::newest;
use super::world::{SESSION, World};
use crate::support::proxy::Traffic;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    BrokerKilled,
    BrokersRolled,
    SnapshotsTruncated,
    SnapshotsFlipped,
    SnapshotsDeleted,
    SnapshotsHalfWritten,
    DiskFull,
    StoreRefuses,
    StoreUnreachable,
    StoreHangs,
    StoreSlow,
    InstanceKilled,
    AllKilled,
    InstancePaused,
    InstanceLeaves,
    InstanceJoins,
    ConnectionsCut,
    BrokerUnreachable,
    ConnectionsStalled,
    ConnectionsSlow,
}

/// What a fault strikes. Two at once strike different things, and are undone in the reverse order of this one:
/// brokers can be asked how they are only over connections that work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Brokers,
    Store,
    Instances,
    Network,
}

/// What ends a fault.
pub enum Undo {
    Nothing,
    StartBroker(usize),
    RemoveFile(PathBuf),
    /// The file is removed, and the folder gets its name back.
    RestoreFolder(PathBuf, PathBuf),
    Continue,
    LetFlow,
    LetStoreFlow,
}

impl Fault {
    const ALL: [Self; 20] = [
        Self::BrokerKilled,
        Self::BrokersRolled,
        Self::SnapshotsTruncated,
        Self::SnapshotsFlipped,
        Self::SnapshotsDeleted,
        Self::SnapshotsHalfWritten,
        Self::DiskFull,
        Self::StoreRefuses,
        Self::StoreUnreachable,
        Self::StoreHangs,
        Self::StoreSlow,
        Self::InstanceKilled,
        Self::AllKilled,
        Self::InstancePaused,
        Self::InstanceLeaves,
        Self::InstanceJoins,
        Self::ConnectionsCut,
        Self::BrokerUnreachable,
        Self::ConnectionsStalled,
        Self::ConnectionsSlow,
    ];
    /// One of each sort, for a run of a minute.
    const SHORT: [Self; 8] = [
        Self::BrokerKilled,
        Self::SnapshotsFlipped,
        Self::DiskFull,
        Self::StoreRefuses,
        Self::InstanceKilled,
        Self::InstancePaused,
        Self::InstanceJoins,
        Self::ConnectionsCut,
    ];
    const SHORT_WITH_BUCKET: [Self; 3] = [Self::StoreUnreachable, Self::StoreHangs, Self::InstancePaused];

    /// All that can happen in this world.
    pub fn deck(world: &World) -> Vec<Self> {
        let mut deck = match (world.scale.long, world.store.is_bucket()) {
            (true, _) => Self::ALL.to_vec(),
            (false, false) => Self::SHORT.to_vec(),
            (false, true) => Self::SHORT_WITH_BUCKET.to_vec(),
        };
        deck.retain(|fault| match fault {
            Self::StoreUnreachable | Self::StoreHangs | Self::StoreSlow => world.store.is_bucket(),
            Self::DiskFull => world.store.may_be_full(),
            fault => fault.place() != Place::Store || !world.store.is_bucket(),
        });
        deck
    }

    /// How many there are in the short form.
    pub fn short(bucket: bool) -> usize {
        if bucket { Self::SHORT_WITH_BUCKET.len() } else { Self::SHORT.len() }
    }

    pub fn place(self) -> Place {
        match self {
            Self::BrokerKilled | Self::BrokersRolled => Place::Brokers,
            Self::SnapshotsTruncated
            | Self::SnapshotsFlipped
            | Self::SnapshotsDeleted
            | Self::SnapshotsHalfWritten
            | Self::DiskFull
            | Self::StoreRefuses
            | Self::StoreUnreachable
            | Self::StoreHangs
            | Self::StoreSlow => Place::Store,
            Self::InstanceKilled
            | Self::AllKilled
            | Self::InstancePaused
            | Self::InstanceLeaves
            | Self::InstanceJoins => Place::Instances,
            Self::ConnectionsCut | Self::BrokerUnreachable | Self::ConnectionsStalled | Self::ConnectionsSlow => {
                Place::Network
            }
        }
    }

    /// In words, for the table.
    pub fn words(self) -> &'static str {
        match self {
            Self::BrokerKilled => "a broker killed (SIGKILL) and started again",
            Self::BrokersRolled => "all brokers restarted, one after the other",
            Self::SnapshotsTruncated => "all instances killed, the newest snapshots truncated",
            Self::SnapshotsFlipped => "all instances killed, a bit of the newest snapshots flipped",
            Self::SnapshotsDeleted => "all instances killed, the newest snapshots deleted",
            Self::SnapshotsHalfWritten => "an instance killed, half-written snapshots left behind",
            Self::DiskFull => "the store's disk full",
            Self::StoreRefuses => "the store refuses some partitions, an instance killed meanwhile",
            Self::StoreUnreachable => "the bucket unreachable, an instance killed meanwhile",
            Self::StoreHangs => "the bucket hanging, an instance killed meanwhile",
            Self::StoreSlow => "the bucket slow, an instance killed meanwhile",
            Self::InstanceKilled => "an instance killed (SIGKILL)",
            Self::AllKilled => "all instances killed",
            Self::InstancePaused => "an instance stopped (SIGSTOP) for longer than its session, then continued",
            Self::InstanceLeaves => "an instance ended (SIGTERM)",
            Self::InstanceJoins => "an instance added",
            Self::ConnectionsCut => "all connections cut and refused",
            Self::BrokerUnreachable => "one broker unreachable for clients",
            Self::ConnectionsStalled => "all connections stalled for longer than a session",
            Self::ConnectionsSlow => "all connections slow",
        }
    }

    /// How long it lasts.
    pub fn length(self) -> Duration {
        match self {
            // The partitions go to others meanwhile.
            Self::InstancePaused
            | Self::ConnectionsStalled
            | Self::StoreRefuses
            | Self::StoreUnreachable
            | Self::StoreHangs
            | Self::StoreSlow => SESSION + Duration::from_secs(2),
            Self::BrokerUnreachable | Self::ConnectionsSlow | Self::DiskFull => Duration::from_secs(4),
            Self::BrokerKilled | Self::ConnectionsCut => Duration::from_secs(2),
            _ => Duration::from_secs(1),
        }
    }

    /// Lets it happen.
    pub fn begin(self, world: &mut World) -> Undo {
        let instances = world.fleet.processes.len();
        let instance = world.random.random_range(0..instances);
        let broker = world.random.random_range(0..world.proxies.len());
        match self {
            Self::BrokerKilled => {
                world.cluster.kill(broker);
                return Undo::StartBroker(broker);
            }
            Self::BrokersRolled => (0..world.proxies.len()).for_each(|broker| {
                world.cluster.stop(broker);
                world.cluster.start_again(broker);
            }),
            Self::SnapshotsTruncated | Self::SnapshotsFlipped | Self::SnapshotsDeleted => {
                (0..instances).rev().for_each(|index| world.fleet.kill(index));
                world.store.folders().iter().filter_map(|folder| newest(folder)).for_each(|file| self.damage(&file));
                (0..instances).for_each(|_| world.fleet.add());
            }
            Self::SnapshotsHalfWritten => {
                world.fleet.kill(instance);
                for folder in world.store.folders() {
                    let name = newest(&folder).unwrap_or(folder.join("first")).with_extension("4711.tmp");
                    fs::write(name, b"half a snapsh").unwrap();
                }
                world.fleet.add();
            }
            Self::DiskFull => {
                let file = world.store.directory().join("filler");
                fill(&file);
                return Undo::RemoveFile(file);
            }
            Self::StoreRefuses => {
                let all = world.store.folders();
                let Some(folder) = all.choose(&mut world.random) else { return Undo::Nothing };
                let away = folder.with_extension("away");
                fs::rename(folder, &away).unwrap();
                fs::write(folder, b"").unwrap();
                world.fleet.kill(instance);
                world.fleet.add();
                return Undo::RestoreFolder(folder.clone(), away);
            }
            Self::StoreUnreachable | Self::StoreHangs | Self::StoreSlow => {
                world.store.set(match self {
                    Self::StoreUnreachable => Traffic::Cut,
                    Self::StoreHangs => Traffic::Stalled,
                    _ => Traffic::Slow,
                });
                world.fleet.kill(instance);
                world.fleet.add();
                return Undo::LetStoreFlow;
            }
            Self::InstanceKilled => {
                world.fleet.kill(instance);
                world.fleet.add();
            }
            Self::AllKilled => {
                (0..instances).rev().for_each(|index| world.fleet.kill(index));
                (0..instances).for_each(|_| world.fleet.add());
            }
            Self::InstancePaused => {
                let process = &mut world.fleet.processes[instance];
                process.signal("STOP");
                process.paused = true;
                return Undo::Continue;
            }
            Self::InstanceLeaves if instances > 1 => world.fleet.terminate(instance),
            Self::InstanceJoins if instances > world.scale.instances => world.fleet.terminate(instance),
            Self::InstanceLeaves | Self::InstanceJoins => world.fleet.add(),
            Self::ConnectionsCut => return world.let_all(Traffic::Cut),
            Self::ConnectionsStalled => return world.let_all(Traffic::Stalled),
            Self::ConnectionsSlow => return world.let_all(Traffic::Slow),
            Self::BrokerUnreachable => {
                world.proxies[broker].set(Traffic::Cut);
                return Undo::LetFlow;
            }
        }
        Undo::Nothing
    }

    fn damage(self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        let half = bytes.len() / 2;
        match self {
            Self::SnapshotsTruncated => bytes.truncate(half),
            Self::SnapshotsFlipped => bytes[half] ^= 0x10,
            _ => return fs::remove_file(file).unwrap(),
        }
        fs::write(file, bytes).unwrap();
    }
}

impl Undo {
    pub fn apply(self, world: &mut World) {
        match self {
            Self::Nothing => {}
            Self::StartBroker(broker) => world.cluster.start_again(broker),
            Self::RemoveFile(file) => fs::remove_file(file).unwrap(),
            Self::RestoreFolder(folder, away) => {
                fs::remove_file(&folder).unwrap();
                fs::rename(away, folder).unwrap();
            }
            Self::Continue => {
                for process in world.fleet.processes.iter_mut().filter(|process| process.paused) {
                    process.signal("CONT");
                    process.paused = false;
                }
            }
            Self::LetStoreFlow => world.store.set(Traffic::Flows),
            Self::LetFlow => drop(world.let_all(Traffic::Flows)),
        }
    }
}

/// Writes until there is no room.
fn fill(file: &Path) {
    let mut file = File::create(file).unwrap();
    for piece in [1 << 20, 4 << 10, 1] {
        let bytes = vec![0; piece];
        while file.write_all(&bytes).is_ok() {}
    }
}
