//! What the demo needs to end well: somebody to listen for Ctrl-C, and nothing left behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use tokio::signal::unix::{SignalKind, signal};

/// A directory that is gone when dropped.
pub struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    pub fn create() -> anyhow::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).context("the system gives no random numbers")?;
        let path = std::env::temp_dir().join(format!("churnwatch-demo-{:016x}", u64::from_le_bytes(random)));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} is left behind, remove it: {error}", self.0.display());
        }
    }
}

/// Hears Ctrl-C and SIGTERM. The first asks for an end, the second is one.
pub struct EndSignal(Receiver<()>);

impl EndSignal {
    pub fn listen() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (asked, ask) = bounded(1);
        let listen = move || {
            runtime.block_on(async {
                if next_signal().await.is_ok() {
                    // Nobody to ask any more is an end as well.
                    let _ = asked.try_send(());
                }
                if next_signal().await.is_ok() {
                    std::process::exit(1);
                }
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen).context("cannot listen for Ctrl-C")?;
        Ok(Self(ask))
    }

    /// Waits for the signal; `true` when it has come.
    pub fn wait(&self, timeout: Duration) -> bool {
        match self.0.recv_timeout(timeout) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(timeout);
                false
            }
        }
    }
}

async fn next_signal() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_is_gone_with_what_is_in_it() {
        let directory = TemporaryDirectory::create().unwrap();
        let path = directory.path().to_owned();
        std::fs::write(path.join("snapshot"), b"x").unwrap();
        drop(directory);
        assert!(!path.exists());
    }
}
