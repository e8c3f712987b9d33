//! `churnwatch run` as a process of its own.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use super::until;

/// `churnwatch run` as a process of its own, killed when dropped.
pub struct Run {
    child: Child,
    /// Of the metrics.
    pub url: String,
    said: Arc<Mutex<String>>,
}

impl Run {
    /// Starts it, and waits until it serves HTTP.
    pub fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(config: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = churnwatch();
        command.envs(environment.iter().copied());
        command.args(["run", "--config"]).arg(config).stdout(Stdio::null()).stderr(Stdio::piped());
        Self::spawn(command, |child| Box::new(child.stderr.take().unwrap()))
    }

    /// The same with a terminal for standard error.
    pub fn on_terminal(config: &Path) -> Self {
        let mut command = Command::new("script");
        let run = format!("exec {} run --config {}", env!("CARGO_BIN_EXE_churnwatch"), config.display());
        command.args(["--quiet", "--flush", "--command", &run, "/dev/null"]).stdout(Stdio::piped());
        command.env_remove("RUST_LOG").env("NO_COLOR", "1").env("TERM", "xterm");
        Self::spawn(command, |child| Box::new(child.stdout.take().unwrap()))
    }

    fn spawn(mut command: Command, log: fn(&mut Child) -> Box<dyn Read + Send>) -> Self {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut log, heard) = (log(&mut child), said.clone());
        // Reads to the end, or the child would block on a full pipe.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = log.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]);
                print!("{text}");
                heard.lock().unwrap().push_str(&text);
            }
        });
        let mut run = Self { child, url: String::new(), said };
        until("served", || {
            let said = run.said();
            let url = said.split_once("serving ").and_then(|(_, rest)| rest.split_once('\n'));
            run.url = url.map(|(url, _)| url.trim().to_owned()).unwrap_or_default();
            !run.url.is_empty()
        });
        run
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The whole page of metrics; `None` while the server does not answer.
    pub fn metrics(&self) -> Option<String> {
        ureq::get(&self.url).call().ok()?.body_mut().read_to_string().ok()
    }

    /// Ends it gently.
    pub fn terminate(mut self) -> ExitStatus {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap()
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, untouched by the environment of the tests.
pub fn churnwatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_churnwatch"));
    command.env_remove("RUST_LOG").env_remove("CHURNWATCH_CONFIG");
    command
}
