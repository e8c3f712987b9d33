//! Snapshots in a directory, of this machine or shared.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::Created;

const TEMPORARY: &str = ".tmp";

/// A directory; folders and names in it are the store's.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Creates it where it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned() })
    }

    pub fn place(&self, folder: &str, name: &str) -> String {
        self.path.join(folder).join(name).display().to_string()
    }

    pub fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        match fs::read_dir(self.path.join(folder)) {
            // What is no text is no name of ours.
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes a file that is there whole and durably, or not at all, and never in the place of another: written under
    /// a temporary name, synced, and linked.
    pub fn create(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<Created> {
        let folder = self.path.join(folder);
        if !folder.is_dir() {
            fs::create_dir_all(&folder)?;
            sync_directory(&self.path)?;
        }
        // The epoch in the name is one owner's alone, and so is the temporary name.
        let temporary = folder.join(format!("{name}{TEMPORARY}"));
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            // A rename would replace what is there.
            fs::hard_link(&temporary, folder.join(name))
        })();
        // Also what a full disk needs most.
        let removed = fs::remove_file(&temporary);
        match written {
            Ok(()) => {
                removed?;
                sync_directory(&folder)?;
                Ok(Created::New)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::TakenAlready),
            Err(error) => Err(error),
        }
    }

    /// Makes an empty file, unless it is there already.
    pub fn create_empty(&self, folder: &str, name: &str) -> io::Result<Created> {
        let folder = self.path.join(folder);
        if !folder.is_dir() {
            fs::create_dir_all(&folder)?;
            sync_directory(&self.path)?;
        }
        match File::create_new(folder.join(name)) {
            Ok(file) => {
                file.sync_all()?;
                sync_directory(&folder)?;
                Ok(Created::New)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::TakenAlready),
            Err(error) => Err(error),
        }
    }

    pub fn read(&self, folder: &str, name: &str) -> io::Result<(u64, impl Read + use<>)> {
        let file = File::open(self.path.join(folder).join(name))?;
        Ok((file.metadata()?.len(), BufReader::new(file)))
    }

    pub fn remove(&self, folder: &str, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(folder).join(name))
    }

    /// Removes what writers left that crashed. Whoever is still writing has been fenced by the claim before.
    pub fn tidy(&self, folder: &str) {
        let left = self.list(folder).unwrap_or_default();
        for name in left.iter().filter(|name| name.ends_with(TEMPORARY)) {
            let _ = self.remove(folder, name);
        }
    }
}

/// Makes a created or removed name durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
