//! What the files in a partition's folder are called, and what a listing says.

use std::fmt;
use std::str::FromStr;

/// A claim to a partition's snapshots: the greater one fences the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The age of a snapshot: the epoch, then the order in which its owner wrote, then how far it reaches. Not the offset
/// first, for after a damaged snapshot was passed over, or the topic read again, newer ones have smaller offsets for
/// a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    pub epoch: Epoch,
    pub sequence: u64,
    pub next_offset: i64,
}

/// A name that churnwatch gives; a file of any other is not its own and is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Snapshot(Age),
    /// From before there were claims: the sequence and the next offset, of epoch 0.
    Unclaimed(Age),
    Claim(Epoch),
    /// Snapshots of earlier epochs are out of use.
    SetAside(Epoch),
}

const SNAPSHOT: &str = ".snapshot";
const CLAIM: &str = "claim-";
const SET_ASIDE: &str = "set-aside-before-";

impl Name {
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Snapshot(age) | Self::Unclaimed(age) => age.epoch,
            Self::Claim(epoch) | Self::SetAside(epoch) => *epoch,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(Age { epoch, sequence, next_offset }) => {
                write!(f, "{:010}-{sequence:010}-{next_offset:020}{SNAPSHOT}", epoch.0)
            }
            Self::Unclaimed(Age { sequence, next_offset, .. }) => {
                write!(f, "{sequence:010}-{next_offset:020}{SNAPSHOT}")
            }
            Self::Claim(epoch) => write!(f, "{CLAIM}{:010}", epoch.0),
            Self::SetAside(epoch) => write!(f, "{SET_ASIDE}{:010}", epoch.0),
        }
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let name = parsed(text).ok_or(())?;
        // One spelling each: what sorts otherwise than it reads was not written by churnwatch.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

fn parsed(text: &str) -> Option<Name> {
    if let Some(epoch) = text.strip_prefix(CLAIM) {
        return Some(Name::Claim(Epoch(epoch.parse().ok()?)));
    }
    if let Some(epoch) = text.strip_prefix(SET_ASIDE) {
        return Some(Name::SetAside(Epoch(epoch.parse().ok()?)));
    }
    let numbers: Vec<&str> = text.strip_suffix(SNAPSHOT)?.split('-').collect();
    match numbers.as_slice() {
        [epoch, sequence, next_offset] => Some(Name::Snapshot(Age {
            epoch: Epoch(epoch.parse().ok()?),
            sequence: sequence.parse().ok()?,
            next_offset: next_offset.parse().ok()?,
        })),
        [sequence, next_offset] => Some(Name::Unclaimed(Age {
            epoch: Epoch(0),
            sequence: sequence.parse().ok()?,
            next_offset: next_offset.parse().ok()?,
        })),
        _ => None,
    }
}

/// All that a folder holds, by one listing.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<Name>,
}

impl Listing {
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().filter_map(|name| name.parse().ok()).collect() }
    }

    /// The greatest epoch in any name; 0 where there is none.
    pub fn epoch(&self) -> Epoch {
        self.names.iter().map(Name::epoch).max().unwrap_or(Epoch(0))
    }

    /// The largest sequence number in that epoch; 0 where there is none.
    pub fn last_sequence(&self, epoch: Epoch) -> u64 {
        let own = self.all().filter(|(age, _)| age.epoch == epoch);
        own.map(|(age, _)| age.sequence).max().unwrap_or(0)
    }

    /// The snapshots in use, the oldest first.
    pub fn snapshots(&self) -> Vec<Name> {
        let mut found: Vec<(Age, Name)> = self.all().filter(|(age, _)| age.epoch >= self.in_use_from()).collect();
        found.sort_by_key(|(age, _)| *age);
        found.into_iter().map(|(_, name)| name).collect()
    }

    /// What the owner of `epoch` has no use for any more, having saved a snapshot: all but the newest `keep`.
    pub fn outdated(&self, epoch: Epoch, keep: usize) -> Vec<Name> {
        let mut outdated: Vec<Name> =
            self.all().filter(|(age, _)| age.epoch < self.in_use_from()).map(|(_, name)| name).collect();
        let mut in_use = self.snapshots();
        in_use.truncate(in_use.len().saturating_sub(keep));
        outdated.append(&mut in_use);
        // Last, so that what they take out of use stays so until it is gone.
        let claims = self.names.iter().filter(|name| match name {
            Name::Claim(earlier) => *earlier < epoch,
            Name::SetAside(earlier) => *earlier <= epoch,
            Name::Snapshot(_) | Name::Unclaimed(_) => false,
        });
        outdated.extend(claims);
        outdated
    }

    fn all(&self) -> impl Iterator<Item = (Age, Name)> {
        self.names.iter().filter_map(|&name| match name {
            Name::Snapshot(age) | Name::Unclaimed(age) => Some((age, name)),
            Name::Claim(_) | Name::SetAside(_) => None,
        })
    }

    fn in_use_from(&self) -> Epoch {
        let marks = self.names.iter().filter_map(|name| match name {
            Name::SetAside(epoch) => Some(*epoch),
            _ => None,
        });
        marks.max().unwrap_or(Epoch(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_nothing_else_is() {
        let snapshot = Name::Snapshot(Age { epoch: Epoch(7), sequence: 2, next_offset: 41 });
        assert_eq!(snapshot.to_string(), "0000000007-0000000002-00000000000000000041.snapshot");
        let unclaimed = Name::Unclaimed(Age { epoch: Epoch(0), sequence: 12, next_offset: 0 });
        assert_eq!(unclaimed.to_string(), "0000000012-00000000000000000000.snapshot");
        assert_eq!(Name::Claim(Epoch(3)).to_string(), "claim-0000000003");
        for name in [snapshot, unclaimed, Name::Claim(Epoch(u64::MAX)), Name::SetAside(Epoch(9))] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for foreign in ["", "claim-3", "claim-+000000003", "7-2-41.snapshot", ".snapshot", "1-2-3-4.snapshot", "notes"]
        {
            assert_eq!(foreign.parse::<Name>(), Err(()), "{foreign}");
        }
    }

    #[test]
    fn the_greater_epoch_is_the_newer_and_the_unclaimed_are_the_oldest() {
        let snapshot =
            |epoch, sequence, next_offset| Name::Snapshot(Age { epoch: Epoch(epoch), sequence, next_offset });
        let unclaimed = Name::Unclaimed(Age { epoch: Epoch(0), sequence: 40, next_offset: 900 });
        let by_age = [unclaimed, snapshot(2, 1, 800), snapshot(2, 2, 100), snapshot(2, 2, 200), snapshot(3, 1, 50)];
        let listing = Listing::new(by_age.iter().rev().map(Name::to_string).chain(["README".to_owned()]));
        assert_eq!(listing.snapshots(), by_age);
        assert_eq!((listing.epoch(), listing.last_sequence(Epoch(2))), (Epoch(3), 2));
        assert_eq!(listing.outdated(Epoch(3), 2), by_age[..3]);

        let claimed = by_age
            .iter()
            .map(Name::to_string)
            .chain(["claim-0000000003", "set-aside-before-0000000003"].map(str::to_owned));
        let listing = Listing::new(claimed);
        assert_eq!(listing.snapshots(), by_age[4..]);
        let outdated = listing.outdated(Epoch(3), 2);
        assert_eq!(outdated[..4], by_age[..4], "those set aside go, however many are kept");
        assert_eq!(outdated[4..], [Name::SetAside(Epoch(3))], "the claim in force stays");
    }
}
