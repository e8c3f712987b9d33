//! What is to become of rejected records, and where dead letters go.

use super::read::Reader;
use super::{Framing, OnRejected};

pub(super) fn framing(r: &mut Reader) -> Option<Framing> {
    let choices = [("detect", Framing::Detect), ("bare", Framing::Bare), ("confluent", Framing::Confluent)];
    r.read("kafka", "framing", |r, name, node| r.choice(name, node, &choices))
}

/// `topics` are those that are read, where that is known.
pub(super) fn on_rejected(r: &mut Reader, topics: Option<&[String]>) -> Option<OnRejected> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mode {
        Skip,
        Fail,
        DeadLetter,
    }
    let topic = r.read_optional("kafka", "dead_letter_topic", super::check::topic);
    if let (Some(Some(topic)), Some(read), Some(node)) = (&topic, topics, r.get("kafka", "dead_letter_topic"))
        && read.contains(topic)
    {
        return r.wrong(
            &node.origin,
            format!("`kafka.dead_letter_topic`: {topic:?} is one of kafka.topics"),
            "name another topic: what is rejected there would be read, and rejected, for ever",
        );
    }
    let choices = [("skip", Mode::Skip), ("fail", Mode::Fail), ("dead_letter", Mode::DeadLetter)];
    let mode = r.read_optional("kafka", "on_rejected", |r, name, node| r.choice(name, node, &choices))?;
    match (mode, topic?) {
        (Some(Mode::Skip), _) | (None, None) => Some(OnRejected::Skip),
        (Some(Mode::Fail), _) => Some(OnRejected::Fail),
        (Some(Mode::DeadLetter) | None, Some(topic)) => Some(OnRejected::DeadLetter { topic }),
        (Some(Mode::DeadLetter), None) => {
            let origin = r.get("kafka", "on_rejected")?.origin;
            r.wrong(
                &origin,
                "`kafka.on_rejected` is \"dead_letter\", and there is no topic for dead letters",
                "name it: dead_letter_topic = \"…\"",
            )
        }
    }
}
