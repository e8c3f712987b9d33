//! The life of one partition in one worker, as one exhaustive table.

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not ours.
    Vacant,
    /// Its shard is restored; its queue is not there yet.
    Restored,
    Reading,
    /// Something is wrong that reading on would hide.
    Broken,
}

/// What happens to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The group gives it to this instance.
    Assigned,
    /// Its queue arrives.
    Started,
    /// Records are gone that were never read.
    Broke,
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
    Nothing,
    /// This cannot happen: the client broke its own rules.
    Refuse,
}

/// The next phase, and what the event asks for.
pub(crate) fn step(phase: Phase, event: Event) -> (Phase, Duty) {
    match (phase, event) {
        (Phase::Vacant, Event::Assigned) => (Phase::Restored, Duty::Restore),
        (Phase::Vacant, Event::Broke | Event::Revoked | Event::Lost) => (Phase::Vacant, Duty::Nothing),

        (Phase::Restored, Event::Started) => (Phase::Reading, Duty::Read),
        // Nothing was read: the snapshot it came from still says everything.
        (Phase::Restored, Event::Revoked | Event::Lost) => (Phase::Vacant, Duty::Release),

        (Phase::Reading, Event::Revoked) => (Phase::Vacant, Duty::SaveAndRelease),
        (Phase::Reading, Event::Lost) => (Phase::Vacant, Duty::Release),

        (Phase::Restored | Phase::Reading, Event::Broke) => (Phase::Broken, Duty::Quarantine),
        (Phase::Broken, Event::Revoked | Event::Lost) => (Phase::Vacant, Duty::Release),
        (Phase::Broken, Event::Started | Event::Broke) => (Phase::Broken, Duty::Nothing),

        (Phase::Restored | Phase::Reading | Phase::Broken, Event::Assigned)
        | (Phase::Vacant | Phase::Reading, Event::Started) => (phase, Duty::Refuse),
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
            (&[Assigned, Started, Revoked][..], Duty::SaveAndRelease),
            (&[Assigned, Revoked], Duty::Release),
            (&[Assigned, Started, Lost], Duty::Release),
            (&[Assigned, Started, Broke, Revoked], Duty::Release),
            (&[Assigned, Started, Revoked, Revoked], Duty::Nothing),
            (&[Assigned, Started, Lost, Revoked], Duty::Nothing),
        ] {
            assert_eq!(live(events), (Phase::Vacant, last), "{events:?}");
        }
        assert_eq!(live(&[Assigned, Started, Revoked, Assigned]), (Phase::Restored, Duty::Restore));
        assert_eq!(live(&[Assigned, Started, Assigned]), (Phase::Reading, Duty::Refuse));
        assert_eq!(live(&[Started]), (Phase::Vacant, Duty::Refuse));
    }
}
