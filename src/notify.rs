//! Tells the service manager how the process comes along, by systemd's protocol: a datagram to `$NOTIFY_SOCKET`.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use crate::publish::{Published, Readiness};

/// How often it is looked whether there is something to tell.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How much longer a start or an end may take from each telling on: catching up takes as long as it takes.
const EXTENSION: Duration = Duration::from_secs(60);

/// A thread that tells, until it is dropped; nothing where no service manager listens.
pub struct Notifier {
    stopping: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Notifier {
    /// Begins to tell whom the environment names.
    pub fn start(published: Arc<Published>, variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Self> {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok(Self { stopping: None, thread: None });
        };
        let socket = connect(&address)
            .map_err(|error| anyhow::anyhow!("cannot tell the service manager at {}: {error}", address.display()))?;
        let watchdog = watchdog(&variable);
        let (stopping, stop) = crossbeam_channel::bounded(1);
        let interval = watchdog.map_or(LOOK_INTERVAL, |watchdog| LOOK_INTERVAL.min(watchdog / 3));
        let tell = move || {
            let mut told = Told::new(watchdog.is_some());
            loop {
                let state = told.next(&published.readiness.load(), published.unwell());
                if let Err(error) = socket.send(state.as_bytes()) {
                    tracing::debug!("the service manager does not listen: {error}");
                }
                match stop.recv_timeout(interval) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) => told.stopping = true,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("notify".to_owned()).spawn(tell)?;
        Ok(Self { stopping: Some(stopping), thread: Some(thread) })
    }

    /// From now on the process is on its way out.
    pub fn stopping(&self) {
        if let Some(stopping) = &self.stopping {
            // The thread lives as long as this does.
            let _ = stopping.send(());
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.stopping = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A path, or a name behind `@`, which is not in the file system.
fn connect(address: &OsString) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// How long the service manager waits for a sign of life, where it does.
fn watchdog(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
    let meant_for_another =
        variable("WATCHDOG_PID").is_some() && number("WATCHDOG_PID") != Some(std::process::id().into());
    number("WATCHDOG_USEC").filter(|us| *us > 0 && !meant_for_another).map(Duration::from_micros)
}

/// What was told already.
struct Told {
    has_watchdog: bool,
    ready: bool,
    status: String,
    stopping: bool,
    stopping_told: bool,
}

impl Told {
    fn new(has_watchdog: bool) -> Self {
        Self { has_watchdog, ready: false, status: String::new(), stopping: false, stopping_told: false }
    }

    /// What is to be told now. `unwell` is what `/healthz` says: where it says something, there is no sign of life.
    fn next(&mut self, readiness: &Readiness, unwell: Option<String>) -> String {
        let mut lines = Vec::new();
        if self.stopping && !std::mem::replace(&mut self.stopping_told, true) {
            lines.push("STOPPING=1".to_owned());
        }
        if *readiness == Readiness::Ready && !self.stopping && !std::mem::replace(&mut self.ready, true) {
            lines.push("READY=1".to_owned());
        }
        if unwell.is_none() {
            if !self.ready || self.stopping {
                lines.push(format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
            }
            if self.has_watchdog {
                lines.push("WATCHDOG=1".to_owned());
            }
        }
        let status = match (unwell, readiness) {
            (Some(what), _) => format!("stalled: {what}"),
            (None, Readiness::Ready) => "ready".to_owned(),
            (None, Readiness::NotReady(why)) => format!("not ready: {}", why.replace('\n', " ")),
        };
        if status != self.status {
            lines.push(format!("STATUS={status}"));
            self.status = status;
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTING: &str = "EXTEND_TIMEOUT_USEC=60000000";

    #[test]
    fn each_change_is_told_once_and_life_each_time() {
        let not_ready = || Readiness::NotReady("catching up".to_owned());
        let mut told = Told::new(true);
        assert_eq!(told.next(&not_ready(), None), format!("{STARTING}\nWATCHDOG=1\nSTATUS=not ready: catching up"));
        assert_eq!(told.next(&not_ready(), None), format!("{STARTING}\nWATCHDOG=1"));
        assert_eq!(told.next(&Readiness::Ready, None), "READY=1\nWATCHDOG=1\nSTATUS=ready");
        assert_eq!(told.next(&Readiness::Ready, None), "WATCHDOG=1");
        assert_eq!(told.next(&not_ready(), None), "WATCHDOG=1\nSTATUS=not ready: catching up", "ready once is enough");
        assert_eq!(told.next(&Readiness::Ready, None), "WATCHDOG=1\nSTATUS=ready");
        told.stopping = true;
        assert_eq!(told.next(&Readiness::Ready, None), format!("STOPPING=1\n{STARTING}\nWATCHDOG=1"));
        assert_eq!(told.next(&Readiness::Ready, None), format!("{STARTING}\nWATCHDOG=1"));
    }

    #[test]
    fn what_is_stuck_gives_no_sign_of_life() {
        let mut told = Told::new(true);
        let stuck = Some("the Kafka client made no progress for 121 s".to_owned());
        let not_ready = Readiness::NotReady("starting".to_owned());
        let expected = "STATUS=stalled: the Kafka client made no progress for 121 s";
        assert_eq!(told.next(&not_ready, stuck.clone()), expected);
        assert_eq!(told.next(&not_ready, stuck), "");
    }

    #[test]
    fn a_watchdog_is_meant_for_the_process_that_it_names() {
        let of = |pid: Option<u32>, us: &str| {
            watchdog(|name| match name {
                "WATCHDOG_PID" => pid.map(|pid| pid.to_string().into()),
                _ => Some(us.into()),
            })
        };
        let this = std::process::id();
        assert_eq!(of(None, "3000000"), Some(Duration::from_secs(3)));
        assert_eq!(of(Some(this), "3000000"), Some(Duration::from_secs(3)));
        assert_eq!((of(Some(this + 1), "3000000"), of(None, "0"), of(None, "x")), (None, None, None));
    }

    #[test]
    fn nobody_listening_is_no_mistake_and_a_wrong_address_is_one() {
        let published = Arc::new(Published::new(Duration::from_secs(60)));
        assert!(Notifier::start(published.clone(), |_| None).unwrap().thread.is_none());
        let error = Notifier::start(published, |_| Some("/nowhere/notify".into())).err().unwrap();
        assert!(error.to_string().contains("cannot tell the service manager at /nowhere/notify: "), "{error}");
    }
}
