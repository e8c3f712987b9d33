//! The life of one partition in this instance, as one exhaustive table. The group follows it from the assignment
//! on, the worker from the restored shard on.

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not ours.
    Vacant,
    /// Ours; its shard is being restored, and the client does not fetch it yet.
    Restoring,
    Reading,
    /// Something is wrong that reading on would hide.
    Broken,
}

/// What happens to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The group gives it to this instance.
    Assigned,
    /// Its shard is there.
    Restored,
    /// Records are gone that were never read.
    Broke,
    /// Somebody else has claimed its snapshots.
    Fenced,
    /// The group takes it away while this instance still owns it.
    Revoked,
    /// The group took it away already: somebody else may own it.
    Lost,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    Restore,
    Read,
    /// Stop reading, keep the shard from being saved.
    Quarantine,
    /// Save the shard, then let go of it.
    SaveAndRelease,
    /// Let go of the shard as it is.
    Release,
    /// Nobody wants the shard any more that is being restored.
    Cancel,
    Nothing,
    /// This cannot happen: the client broke its own rules.
    Refuse,
}

/// The next phase, and what the event asks for.
pub(crate) fn step(phase: Phase, event: Event) -> (Phase, Duty) {
    match (phase, event) {
        (Phase::Vacant, Event::Assigned) => (Phase::Restoring, Duty::Restore),
        // What was begun in an earlier life comes too late.
        (Phase::Vacant, Event::Restored | Event::Broke | Event::Fenced | Event::Revoked | Event::Lost) => {
            (Phase::Vacant, Duty::Nothing)
        }

        (Phase::Restoring, Event::Restored) => (Phase::Reading, Duty::Read),
        // Nothing was read: the snapshot it comes from still says everything.
        (Phase::Restoring, Event::Revoked | Event::Lost) => (Phase::Vacant, Duty::Cancel),

        (Phase::Reading, Event::Revoked) => (Phase::Vacant, Duty::SaveAndRelease),
        (Phase::Reading, Event::Lost) => (Phase::Vacant, Duty::Release),
        (Phase::Reading, Event::Broke | Event::Fenced) => (Phase::Broken, Duty::Quarantine),

        (Phase::Broken, Event::Revoked | Event::Lost) => (Phase::Vacant, Duty::Release),
        (Phase::Broken, Event::Broke | Event::Fenced) => (Phase::Broken, Duty::Nothing),

        (Phase::Restoring, Event::Assigned | Event::Broke | Event::Fenced)
        | (Phase::Reading | Phase::Broken, Event::Assigned | Event::Restored) => (phase, Duty::Refuse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_ends_saved_unless_it_broke_or_was_lost() {
        let live = |events: &[Event]| {
            events.iter().fold((Phase::Vacant, Duty::Nothing), |(phase, _), &event| step(phase, event))
        };
        use Event::*;
        for (events, last) in [
            (&[Assigned, Restored, Revoked][..], Duty::SaveAndRelease),
            (&[Assigned, Revoked], Duty::Cancel),
            (&[Assigned, Lost], Duty::Cancel),
            (&[Assigned, Revoked, Restored], Duty::Nothing),
            (&[Assigned, Restored, Lost], Duty::Release),
            (&[Assigned, Restored, Broke, Revoked], Duty::Release),
            (&[Assigned, Restored, Fenced, Revoked], Duty::Release),
            (&[Assigned, Restored, Revoked, Revoked], Duty::Nothing),
            (&[Assigned, Restored, Lost, Revoked], Duty::Nothing),
        ] {
            assert_eq!(live(events), (Phase::Vacant, last), "{events:?}");
        }
        assert_eq!(live(&[Assigned, Restored, Revoked, Assigned]), (Phase::Restoring, Duty::Restore));
        assert_eq!(live(&[Assigned, Restored, Assigned]), (Phase::Reading, Duty::Refuse));
        assert_eq!(live(&[Assigned, Restored, Restored]), (Phase::Reading, Duty::Refuse));
    }
}
