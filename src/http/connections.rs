//! The open connections, each with a limit for what it is doing: nobody who says nothing, or does not listen, keeps
//! a scrape out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::network::client;
use super::progress::{Phase, Progress, State};

/// How long a connection may take for what, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a handshake, and for a request's header from its first byte to its last.
    pub header: Duration,
    /// Until it is used again.
    pub idle: Duration,
    /// For a request to be answered, and the answer to be taken.
    pub answer: Duration,
    /// For a client to do anything at all that it is waited for to do, once there are too many.
    pub stall: Duration,
    pub max_connections: usize,
    /// Answers with the metrics that are not taken yet.
    pub max_scrapes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            // Longer than the usual minute between scrapes, which would meet a connection that is just being closed.
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(30),
            stall: Duration::from_secs(2),
            max_connections: 256,
            max_scrapes: 40,
        }
    }
}

/// The open connections. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Connections(Arc<Mutex<Open>>);

struct Open {
    limits: Limits,
    next_number: u64,
    connections: BTreeMap<u64, Connection>,
}

struct Connection {
    progress: Arc<Progress>,
    task: AbortHandle,
    /// Of the web configuration in force when it was accepted.
    generation: u64,
    /// [`client`]
    client: IpAddr,
    /// Whether the metrics are being taken.
    scrapes: bool,
}

impl Connection {
    fn close(&self) {
        self.progress.cut_off();
        self.task.abort();
    }
}

/// A connection as its own task sees it. Clones are the same one.
#[derive(Clone)]
pub(super) struct Connected {
    pub progress: Arc<Progress>,
    number: u64,
    connections: Connections,
}

impl Connected {
    /// A place among the answers with the metrics, for which another one ends where there are too many.
    pub fn scrape(&self) -> Scrape {
        let mut open = self.connections.locked();
        let max_scrapes = open.limits.max_scrapes;
        while open.connections.values().filter(|connection| connection.scrapes).count() >= max_scrapes
            && open.evict(Instant::now(), max_scrapes, |connection| connection.scrapes).is_some()
        {}
        if let Some(connection) = open.connections.get_mut(&self.number) {
            connection.scrapes = true;
        }
        Scrape(self.clone())
    }
}

/// An answer with the metrics that is not taken yet.
pub(super) struct Scrape(Connected);

impl Drop for Scrape {
    fn drop(&mut self) {
        if let Some(connection) = self.0.connections.locked().connections.get_mut(&self.0.number) {
            connection.scrapes = false;
        }
    }
}

/// Removes a connection from the list when it ends.
struct Entry(Connected);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.connections.locked().connections.remove(&self.0.number);
    }
}

impl Connections {
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Open { limits, next_number: 0, connections: BTreeMap::new() })))
    }

    fn locked(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often [`Self::close_overdue`] is to be called.
    pub fn sweep_interval(&self) -> Duration {
        let Limits { header, idle, answer, .. } = self.locked().limits;
        (header.min(idle).min(answer) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Takes a connection in, for which another one goes where there are too many, and lets `serve` begin.
    pub fn admit<F: Future<Output = ()> + Send + 'static>(
        &self,
        peer: IpAddr,
        generation: u64,
        serve: impl FnOnce(Connected) -> F,
    ) {
        let mut open = self.locked();
        let max_connections = open.limits.max_connections;
        while open.connections.len() >= max_connections
            && open.evict(Instant::now(), max_connections, |_| true).is_some()
        {}
        let number = open.next_number;
        open.next_number += 1;
        let connected = Connected { progress: Progress::new(), number, connections: self.clone() };
        let (progress, entry) = (connected.progress.clone(), Entry(connected.clone()));
        let serving = serve(connected);
        let task = tokio::spawn(async move {
            serving.await;
            drop(entry);
        });
        let task = task.abort_handle();
        open.connections
            .insert(number, Connection { progress, task, generation, client: client(peer), scrapes: false });
    }

    /// Closes what takes longer than it may, and what is idle under a web configuration that is no longer in force.
    pub fn close_overdue(&self, generation: u64) {
        let (mut open, now) = (self.locked(), Instant::now());
        let Limits { header, idle, answer, .. } = open.limits;
        open.connections.retain(|_, connection| {
            let State { phase, since, .. } = connection.progress.now();
            let may_take = match phase {
                Phase::Header => header,
                Phase::Idle if connection.generation != generation => Duration::ZERO,
                Phase::Idle => idle,
                Phase::Asked | Phase::Answered { .. } => answer,
            };
            let stays = now.saturating_duration_since(since) <= may_take;
            if !stays {
                tracing::debug!(?phase, "an HTTP connection took too long, and was closed");
                connection.close();
            }
            stays
        });
    }
}

impl Open {
    /// Closes one of `these`, of which there may be `max`. First goes who has been waited for in vain for longest, if
    /// that is for [`Limits::stall`]; then somebody of a client that has more than a quarter of all; and then whose
    /// header is not there, who is idle, who has not taken anything for longest.
    fn evict(&mut self, now: Instant, max: usize, these: impl Fn(&Connection) -> bool) -> Option<()> {
        let these = || self.connections.iter().filter(|(_, connection)| these(connection));
        let mut of_client: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (_, connection) in these() {
            *of_client.entry(connection.client).or_default() += 1;
        }
        let candidates = these().map(|(number, connection)| {
            let State { phase, moved, .. } = connection.progress.now();
            let is_waited_for = matches!(phase, Phase::Header | Phase::Answered { .. });
            let rank = if is_waited_for && now.saturating_duration_since(moved) >= self.limits.stall {
                (0, 0)
            } else {
                let spared = match phase {
                    Phase::Header => 0,
                    Phase::Idle => 1,
                    Phase::Asked | Phase::Answered { .. } => 2,
                };
                (if of_client[&connection.client] * 4 > max { 1 } else { 2 }, spared)
            };
            (rank, moved, *number)
        });
        let (.., number) = candidates.min()?;
        self.connections.remove(&number)?.close();
        tracing::debug!("too many HTTP connections or scrapes: one that waits was closed");
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::body::Body;

    use super::*;

    /// Longer than a test takes.
    const STALL: Duration = Duration::from_secs(3600);

    /// Connections whose clients do what a test says.
    struct Clients {
        connections: Connections,
        runtime: tokio::runtime::Runtime,
    }

    impl Clients {
        fn new(max_connections: usize) -> Self {
            let limits = Limits { stall: STALL, max_connections, ..Limits::default() };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            Self { connections: Connections::new(limits), runtime }
        }

        fn connect(&self, client: &str) -> Connected {
            let _guard = self.runtime.enter();
            let mut connected = None;
            self.connections.admit(client.parse().unwrap(), 0, |this| {
                connected = Some(this);
                pending()
            });
            connected.unwrap()
        }

        /// One that is being answered, and listens no longer.
        fn asks(&self, client: &str) -> Connected {
            let connected = self.connect(client);
            drop(connected.progress.asked().answered_by(Body::empty()));
            connected
        }

        /// Ends one as if there were too many by then.
        fn evict(&self, later: Duration) {
            let mut open = self.connections.locked();
            let (now, max) = (Instant::now() + later, open.limits.max_connections);
            open.evict(now, max, |_| true).unwrap();
        }

        fn is_open(&self, connected: &Connected) -> bool {
            self.connections.locked().connections.contains_key(&connected.number)
        }
    }

    #[test]
    fn who_has_not_moved_for_long_goes_first() {
        let clients = Clients::new(100);
        let [idle, asked, deaf, silent, taking] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"].map(|client| clients.connect(client));
        drop(idle.progress.asked().answered_by(Body::empty()));
        idle.progress.flushed();
        let _not_answered = asked.progress.asked();
        let _answers = [&taking, &deaf].map(|connected| connected.progress.asked().answered_by(Body::empty()));
        taking.progress.written();
        for (later, gone) in [(STALL, &silent), (STALL, &deaf), (Duration::ZERO, &idle), (Duration::ZERO, &asked)] {
            assert!(clients.is_open(gone) && clients.is_open(&taking));
            clients.evict(later);
            assert!(!clients.is_open(gone));
        }
        assert!(clients.is_open(&taking));
    }

    #[test]
    fn a_header_on_its_way_and_an_answer_outlive_a_flood_from_another_address() {
        let clients = Clients::new(16);
        let (taking, connecting) = (clients.asks("10.0.0.1"), clients.connect("2001:db8::1"));
        for n in 0..1000 {
            let client = format!("2001:db8:0:1::{n:x}");
            let flooding = if n % 3 == 0 { clients.connect(&client) } else { clients.asks(&client) };
            assert!(clients.is_open(&flooding) && clients.is_open(&taking) && clients.is_open(&connecting), "{n}");
        }
        assert_eq!(clients.connections.locked().connections.len(), 16);
    }

    #[test]
    fn of_too_many_scrapes_one_ends_and_the_connections_without_stay() {
        let clients = Clients::new(1000);
        let idle = clients.connect("10.0.0.1");
        let scraping: Vec<_> = (0..50).map(|n| clients.asks(&format!("10.0.1.{n}"))).collect();
        let places: Vec<_> = scraping.iter().map(Connected::scrape).collect();
        let open: Vec<bool> = scraping.iter().map(|connected| clients.is_open(connected)).collect();
        assert_eq!(open, [[false; 10].as_slice(), &[true; 40]].concat());
        drop(places);
        let _another = clients.asks("10.0.0.2").scrape();
        assert!(clients.is_open(&idle) && scraping[10..].iter().all(|connected| clients.is_open(connected)));
    }
}
