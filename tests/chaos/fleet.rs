//! The instances: processes of one group, supervised as an orchestrator would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::kafka::fixture::poll;
use crate::support::tied::Tied;

/// One `churnwatch run`.
pub struct Process {
    child: Tied,
    log: PathBuf,
    url: Option<String>,
    /// Whether it is stopped by a signal.
    pub paused: bool,
}

impl Process {
    fn start(config: &Path, environment: &[(&str, String)], log: PathBuf) -> Self {
        let mut run = Command::new(binary());
        run.args(["run", "--config"]).arg(config).env_remove("RUST_LOG").env_remove("CHURNWATCH_CONFIG");
        run.envs(environment.iter().map(|(name, value)| (*name, value)));
        let child = Tied::spawn(&mut run, &log);
        Self { child, log, url: None, paused: false }
    }

    /// The page of metrics; `None` where it does not answer.
    pub fn metrics(&mut self) -> Option<String> {
        let request = ureq::get(self.url()?).config().timeout_global(Some(Duration::from_secs(2))).build();
        request.call().ok()?.body_mut().read_to_string().ok()
    }

    /// Where it serves, once it does.
    fn url(&mut self) -> Option<&str> {
        if self.url.is_none() {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            self.url = said.lines().find_map(|line| Some(line.split_once("serving ")?.1.to_owned()));
        }
        self.url.as_deref()
    }

    pub fn signal(&self, name: &str) {
        self.child.signal(name);
    }
}

/// The program; another build where `CHURNWATCH_BINARY` names it.
pub fn binary() -> PathBuf {
    std::env::var_os("CHURNWATCH_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_churnwatch").into()).into()
}

/// All instances that are to run.
pub struct Fleet {
    pub processes: Vec<Process>,
    config: PathBuf,
    environment: Vec<(&'static str, String)>,
    logs: PathBuf,
    started: usize,
    exits: usize,
}

impl Fleet {
    pub fn new(config: PathBuf, environment: Vec<(&'static str, String)>, logs: PathBuf, size: usize) -> Self {
        fs::create_dir_all(&logs).unwrap();
        let mut fleet = Self { processes: Vec::new(), config, environment, logs, started: 0, exits: 0 };
        (0..size).for_each(|_| fleet.add());
        fleet
    }

    pub fn add(&mut self) {
        self.started += 1;
        let log = self.logs.join(format!("{}.txt", self.started));
        self.processes.push(Process::start(&self.config, &self.environment, log));
    }

    /// SIGKILL.
    pub fn kill(&mut self, index: usize) {
        drop(self.processes.remove(index));
    }

    /// SIGTERM; fails where it does not end in good order.
    pub fn terminate(&mut self, index: usize) {
        let mut process = self.processes.remove(index);
        // Before it serves, it may not know yet what to do about the signal.
        crate::support::until("serving", || process.url().is_some());
        process.signal("TERM");
        let mut ended = None;
        assert!(
            poll(|| {
                ended = process.child.ended();
                ended.is_some()
            }),
            "an instance does not end"
        );
        let status = ended.unwrap();
        assert!(status.success(), "{status}: {}", tail(&process.log));
    }

    /// Starts anew whatever has ended by itself, as an orchestrator would.
    pub fn supervise(&mut self) {
        let before = self.processes.len();
        let mut said = Vec::new();
        self.processes.retain_mut(|process| match process.child.ended() {
            None => true,
            Some(status) => {
                said.push(format!("an instance ended by itself, {status}: {}", tail(&process.log)));
                false
            }
        });
        said.iter().for_each(|said| println!("{said}"));
        let ended = before - self.processes.len();
        self.exits += ended;
        (0..ended).for_each(|_| self.add());
    }

    /// How many have ended by themselves since the last time.
    pub fn take_exits(&mut self) -> usize {
        std::mem::take(&mut self.exits)
    }

    /// Ends all in good order, and fails where one has met a bug.
    pub fn end(&mut self) {
        (0..self.processes.len()).rev().for_each(|index| self.terminate(index));
        for entry in fs::read_dir(&self.logs).unwrap() {
            let said = fs::read_to_string(entry.unwrap().path()).unwrap();
            let bug = said.lines().find(|line| line.contains("panicked") || line.contains("report this bug"));
            assert_eq!(bug, None);
        }
    }

    /// The last words of all that still run.
    pub fn last_words(&self) -> String {
        self.processes.iter().map(|process| tail(&process.log)).collect::<Vec<_>>().join("\n\n")
    }
}

fn tail(log: &Path) -> String {
    let said = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    format!("{}:\n{}", log.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
}
