//! A real Prometheus.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{tool, until};

/// Killed when dropped.
pub struct Prometheus {
    child: Child,
    /// Of its API, without a path.
    pub url: String,
    /// Its configuration, and its samples in `data`.
    pub directory: TempDir,
}

impl Prometheus {
    /// Starts it with a configuration on the samples in the directory, and waits until it is ready.
    pub fn start(directory: TempDir, configuration: &str, arguments: &[&str]) -> Option<Self> {
        let mut command = tool::command("prometheus", "prometheus", "rules in a real Prometheus")?;
        let config = directory.path().join("prometheus.yml");
        fs::write(&config, configuration).unwrap();
        // Free a moment ago: Prometheus cannot be asked which port it took.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let prometheus = Self { child: command.spawn().unwrap(), url: format!("http://{address}"), directory };
        until("ready", || ureq::get(format!("{}/-/ready", prometheus.url)).call().is_ok());
        Some(prometheus)
    }

    /// The series that a query finds; none while Prometheus does not answer.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let answer = || -> Option<Value> {
            let url = format!("{}/api/v1/query", self.url);
            let text = ureq::get(&url).query("query", query).call().ok()?.body_mut().read_to_string().ok()?;
            serde_json::from_str(&text).ok()
        };
        let found = answer().and_then(|answer| answer["data"]["result"].as_array().cloned());
        found.unwrap_or_default()
    }

    /// Ends it, and leaves its samples.
    pub fn stop(mut self) -> TempDir {
        self.end();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.end();
    }
}
