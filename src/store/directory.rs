//! Snapshots in a directory, of this machine or shared.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::files::{Created, Files};
use super::name::{Epoch, Name};

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
}

impl Files for Directory {
    fn place(&self, folder: &str, name: &str) -> String {
        self.path.join(folder).join(name).display().to_string()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        match fs::read_dir(self.path.join(folder)) {
            // What is no text is no name of ours.
            Ok(entries) => entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default())).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Written under a temporary name, synced, and linked: a rename would replace what is there.
    fn create(&self, folder: &str, name: &str, parts: &[Bytes]) -> io::Result<Created> {
        let folder = self.path.join(folder);
        if !folder.is_dir() {
            fs::create_dir_all(&folder)?;
            sync_directory(&self.path)?;
        }
        // Two who claim at once want the same name.
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let temporary = folder.join(format!("{name}.{:016x}{TEMPORARY}", u64::from_ne_bytes(random)));
        let written = (|| {
            let mut file = File::create_new(&temporary)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()?;
            fs::hard_link(&temporary, folder.join(name))
        })();
        // Also what a full disk needs most.
        let _ = fs::remove_file(&temporary);
        match written {
            Ok(()) => sync_directory(&folder).map(|()| Created::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::TakenAlready),
            // Tidied away by somebody whose claim was later: that is to be seen first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Created::TakenAlready),
            Err(error) => Err(error),
        }
    }

    fn read(&self, folder: &str, name: &str) -> io::Result<(u64, Box<dyn Read>)> {
        let file = File::open(self.path.join(folder).join(name))?;
        Ok((file.metadata()?.len(), Box::new(BufReader::new(file))))
    }

    fn remove(&self, folder: &str, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(folder).join(name))
    }

    fn tidy(&self, folder: &str, claim: Epoch) {
        let is_left = |file: &&String| {
            let name =
                file.strip_suffix(TEMPORARY).and_then(|rest| rest.rsplit_once('.')).map(|(name, _)| name.parse());
            // A later claim may be in the making.
            matches!(name, Some(Ok::<Name, ()>(name)) if name.epoch() <= claim)
        };
        for file in self.list(folder).unwrap_or_default().iter().filter(is_left) {
            let _ = self.remove(folder, file);
        }
    }
}

/// Makes a created name durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
