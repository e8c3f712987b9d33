//! Where the instances keep their snapshots: a disk that can be full, or a bucket that can be out of reach.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::store::moto::{self, BUCKET, Moto};
use crate::support::proxy::{Proxy, Traffic};

pub enum Store {
    Disk {
        path: PathBuf,
        /// Whether it is a disk of its own, so that it can be full.
        mounted: bool,
    },
    Bucket {
        #[expect(dead_code, reason = "runs as long as this lives")]
        server: Moto,
        proxy: Proxy,
    },
}

impl Store {
    /// A disk below a directory; where that needs rights that are not there, a folder.
    pub fn disk(parent: &Path) -> Self {
        let path = parent.join("disk");
        fs::create_dir(&path).unwrap();
        let mounted = mount(parent, &path);
        if !mounted {
            crate::support::not_run("chaos, the fault DiskFull", "mounting a tmpfs needs root or sudo");
        }
        Self::Disk { path, mounted }
    }

    pub fn bucket(server: Moto) -> Self {
        let proxy = Proxy::start(server.port());
        Self::Bucket { server, proxy }
    }

    pub fn is_bucket(&self) -> bool {
        matches!(self, Self::Bucket { .. })
    }

    pub fn may_be_full(&self) -> bool {
        matches!(self, Self::Disk { mounted: true, .. })
    }

    /// `snapshot.store`
    pub fn url(&self) -> String {
        match self {
            Self::Disk { path, .. } => format!("file://{}", path.display()),
            Self::Bucket { .. } => format!("s3://{BUCKET}/chaos"),
        }
    }

    /// What instances need to know besides.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Disk { .. } => Vec::new(),
            Self::Bucket { proxy, .. } => moto::environment(&format!("127.0.0.1:{}", proxy.port)).to_vec(),
        }
    }

    pub fn set(&self, traffic: Traffic) {
        if let Self::Bucket { proxy, .. } = self {
            proxy.set(traffic);
        }
    }

    pub fn directory(&self) -> &Path {
        match self {
            Self::Disk { path, .. } => path,
            Self::Bucket { .. } => panic!("a bucket is no directory"),
        }
    }

    /// One folder a partition.
    pub fn folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir() && path.extension().is_none()).collect();
        folders.sort();
        folders
    }
}

/// The newest snapshot in a folder.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "snapshot")).max()
}

/// Whether a tmpfs could be mounted. It goes when this process ends, however it ends.
fn mount(parent: &Path, path: &Path) -> bool {
    let tmpfs = |command: &mut Command| {
        let command = command.args(["-t", "tmpfs", "-o", "size=256m", "churnwatch-chaos"]).arg(path);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let mounted = tmpfs(&mut Command::new("mount")) || tmpfs(Command::new("sudo").args(["-n", "mount"]));
    if mounted {
        // Standard input closes then.
        let waits = "cat >/dev/null; umount -l \"$0\" || sudo -n umount -l \"$0\"; rm -rf \"$1\"";
        let janitor = Command::new("sh")
            .args(["-c", waits])
            .args([path, parent])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Box::leak(Box::new(janitor.unwrap()));
    }
    mounted
}
