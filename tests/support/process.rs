//! `churnwatch run` as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// For the server to answer: long, because machines are slow at times.
const PATIENCE: Duration = Duration::from_secs(60);

/// `churnwatch run` as a process of its own, killed when dropped.
pub struct Run {
    child: Child,
    /// Of the metrics.
    pub url: String,
}

impl Run {
    /// Starts it, and waits until it serves HTTP.
    pub fn start(config: &Path) -> Self {
        let mut child = churnwatch()
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (urls, url) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Reads to the end, or the child would block on a full pipe.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("serving ") {
                    let _ = urls.send(url.to_owned());
                }
                println!("{line}");
            }
        });
        let url = url.recv_timeout(PATIENCE).unwrap();
        Self { child, url }
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
