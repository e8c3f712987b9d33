//! What a store asks of the place where its files lie.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;

use super::name::Epoch;

/// What came of making a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    New,
    /// There is one of that name.
    TakenAlready,
}

/// Files in folders. Calls block, and each is bounded in time where the place does not answer.
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// Where a file is, for people.
    fn place(&self, folder: &str, name: &str) -> String;

    /// The names in a folder, among them all that were made before the call; none where there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a file of these parts that is there whole and durably, or not at all, and never in the place of another. An error may
    /// also mean that it is there all the same.
    fn create(&self, folder: &str, name: &str, parts: &[Bytes]) -> io::Result<Created>;

    /// A file's size, and its bytes. One that ends too early is an error of another kind than
    /// [`io::ErrorKind::UnexpectedEof`], which means damage.
    fn read(&self, folder: &str, name: &str) -> io::Result<(u64, Box<dyn Read>)>;

    fn remove(&self, folder: &str, name: &str) -> io::Result<()>;

    /// Removes what writers of this claim and those before left that crashed. Whoever of them is still writing has been
    /// fenced.
    fn tidy(&self, _folder: &str, _claim: Epoch) {}
}
