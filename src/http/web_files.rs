//! The web configuration's files: what they hold now, and whether that is something new.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::settings::{ConfigError, Pem, WebConfig, parse_web_config};

/// Of each file: a bundle of a hundred CAs has a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

/// What the web configuration and the files that it names hold, or why one cannot be read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct WebFiles {
    path: PathBuf,
    contents: BTreeMap<PathBuf, Result<Vec<u8>, String>>,
}

impl WebFiles {
    /// Reads them all.
    pub fn read(path: &Path) -> Self {
        let mut files = Self { path: path.to_owned(), contents: BTreeMap::new() };
        files.add(path);
        if let Ok(WebConfig { tls: Some(tls), .. }) = files.parse() {
            for pem in [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()].into_iter().flatten() {
                if let Pem::File(path) = pem {
                    files.add(path);
                }
            }
        }
        files
    }

    fn add(&mut self, path: &Path) {
        let content = read_at_most(path, MAX_BYTES).map_err(|error| error.to_string());
        self.contents.insert(path.to_owned(), content);
    }

    /// What the web configuration says.
    pub fn parse(&self) -> Result<WebConfig, ConfigError> {
        let bytes = self.content("http.web_config_file", &self.path)?;
        let name = self.path.display().to_string();
        let text = str::from_utf8(bytes).map_err(|_| ConfigError::remark(format!("{name} is not UTF-8"), "write YAML"));
        parse_web_config(&name, text?, self.path.parent().unwrap_or(Path::new("")))
    }

    /// The text of a certificate or a key.
    pub fn pem<'a>(&'a self, key: &str, pem: &'a Pem) -> Result<&'a [u8], ConfigError> {
        match pem {
            Pem::File(path) => self.content(key, path),
            Pem::Inline(text) => Ok(text.as_bytes()),
        }
    }

    fn content(&self, key: &str, path: &Path) -> Result<&[u8], ConfigError> {
        let remedy = "name a file that this process may read";
        match self.contents.get(path) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(error)) => {
                Err(ConfigError::remark(format!("{key}: cannot read {}: {error}", path.display()), remedy))
            }
            None => Err(ConfigError::remark(format!("{key}: {} was not read", path.display()), remedy)),
        }
    }
}

fn read_at_most(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes} bytes")));
    }
    Ok(content)
}

/// Tells what is new from what was judged already, and from what is still being written.
pub(super) struct Changes {
    judged: WebFiles,
    seen: Option<WebFiles>,
}

impl Changes {
    pub fn since(judged: WebFiles) -> Self {
        Self { judged, seen: None }
    }

    /// The files, where they have changed and were the same the last time.
    pub fn settled(&mut self, now: WebFiles) -> Option<&WebFiles> {
        if now == self.judged {
            self.seen = None;
            return None;
        }
        if self.seen.as_ref() != Some(&now) {
            self.seen = Some(now);
            return None;
        }
        self.seen = None;
        self.judged = now;
        Some(&self.judged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> WebFiles {
        WebFiles { path: "w".into(), contents: [("w".into(), Ok(text.into()))].into() }
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            WebFiles::read(&path).parse().map_err(|error| error.to_string())
        };
        assert!(read(&"#".repeat(1 << 20)).is_ok());
        assert!(read(&"#".repeat((1 << 20) + 1)).unwrap_err().contains("it has more than 1048576 bytes"));
        let endless = WebFiles::read(Path::new("/dev/zero")).parse().unwrap_err().to_string();
        assert!(endless.contains("it has more than 1048576 bytes"), "{endless}");
    }

    #[test]
    fn a_change_counts_once_it_stands_still() {
        let mut changes = Changes::since(files("a"));
        assert!(changes.settled(files("a")).is_none());
        assert!(changes.settled(files("")).is_none(), "being written");
        assert!(changes.settled(files("b")).is_none(), "just written");
        assert!(changes.settled(files("b")).is_some_and(|now| *now == files("b")));
        assert!(changes.settled(files("b")).is_none(), "judged already");
        assert!(changes.settled(files("c")).is_none());
        assert!(changes.settled(files("b")).is_none(), "taken back");
        assert!(changes.settled(files("c")).is_none());
    }
}
