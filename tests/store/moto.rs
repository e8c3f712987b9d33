//! An S3-compatible server of its own for a test: moto, where it is installed.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::kafka::fixture::PATIENCE;
use crate::support::not_run;

pub const BUCKET: &str = "snapshots";

/// A server with an empty bucket, stopped when dropped.
pub struct Moto {
    child: Child,
    /// `host:port`
    pub address: String,
}

impl Moto {
    /// `None` where there is no moto; in CI that is a failure, and elsewhere it is said aloud.
    pub fn start(what: &str) -> Option<Self> {
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                not_run(what, "moto_server is not installed: pip install 'moto[s3,server]'");
                return None;
            }
            Err(error) => panic!("moto_server cannot be run: {error}"),
        };
        let (addresses, address) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Reads to the end, or the server would block on a full pipe.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("Running on http://") {
                    let _ = addresses.send(address.trim().to_owned());
                }
            }
        });
        // Python on a busy machine.
        let address = address.recv_timeout(3 * PATIENCE);
        let moto = Self { child, address: address.expect("moto_server does not say where it listens") };
        ureq::put(format!("http://{}/{BUCKET}", moto.address)).send_empty().unwrap();
        Some(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    pub fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }
}

/// The environment in which S3 is found at `address`.
pub fn environment(address: &str) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

/// Settings of snapshots in the bucket.
pub fn snapshot(prefix: &str) -> churnwatch::settings::Snapshot {
    let store = churnwatch::settings::StoreUrl::Objects(format!("s3://{BUCKET}/{prefix}").parse().unwrap());
    churnwatch::settings::Snapshot { store, interval: Duration::from_secs(1), keep: 2 }
}
