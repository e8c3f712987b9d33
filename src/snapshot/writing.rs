//! From a shard to bytes: all at once, or in slices while the shard goes on changing.

use std::io::{self, Write};
use std::ops::Range;

use bytes::Bytes;
use prost::Message;
use prost::encoding::encode_varint;

use super::{FORMAT_VERSION, MAGIC};
use crate::proto::snapshot as proto;
use crate::shard::Shard;
use crate::time::{Instant, Span};

/// A slice that takes one or two milliseconds: some 40,000 customers.
pub const SLICE_BYTES: usize = 2 << 20;
/// A frame is closed as soon as its payload is this long.
const FRAME_BYTES: usize = 256 * 1024;
/// A length and a checksum.
const HEAD_BYTES: usize = 8;

/// Writes the shard of one partition. Canonical: equal shards give equal bytes.
pub fn write(shard: &Shard, topic: &str, partition: i32, out: &mut impl Write) -> io::Result<()> {
    let mut frames = Frames::begin(&header(shard, topic, partition))?;
    frames.texts(shard, 0..shard.texts().len(), usize::MAX)?;
    for (key, packed) in shard.packed() {
        frames.customer(key, packed)?;
    }
    frames.finish()?.iter().try_for_each(|frame| out.write_all(frame))
}

/// A snapshot that is written a slice at a time while its shard goes on consuming. It tells the shard as it was at the
/// beginning: the bytes are those that [`write()`] would have given then.
///
/// A shard is in one such snapshot at a time. One that is given up needs a [`Slices::abandon`], or the shard keeps for
/// it what it changes.
pub struct Slices {
    next_offset: i64,
    texts: Range<usize>,
    customers: u64,
    frames: Frames,
}

impl Slices {
    /// Begins a snapshot of the shard as it is now.
    pub fn begin(shard: &mut Shard, topic: &str, partition: i32) -> io::Result<Self> {
        let header = header(shard, topic, partition);
        shard.freeze();
        Ok(Self {
            next_offset: header.next_offset,
            texts: 0..shard.texts().len(),
            customers: header.customers,
            frames: Frames::begin(&header)?,
        })
    }

    /// The offset of the first record that is not in the snapshot.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Writes on until the budget is used up, and lowers it by what was written; whether everything is.
    pub fn step(&mut self, shard: &mut Shard, budget_bytes: &mut usize) -> io::Result<bool> {
        let before = self.frames.written_bytes();
        let end = before.saturating_add(*budget_bytes);
        self.texts = self.frames.texts(shard, self.texts.clone(), end)?;
        while self.texts.is_empty() && self.customers > 0 && self.frames.written_bytes() < end {
            let Some((key, packed)) = shard.next_frozen() else {
                return Err(io::Error::other("another snapshot of the shard was begun meanwhile"));
            };
            self.frames.customer(key, packed)?;
            self.customers -= 1;
        }
        *budget_bytes = end.saturating_sub(self.frames.written_bytes());
        Ok(self.texts.is_empty() && self.customers == 0)
    }

    /// Writes what is left, and gives the whole as the parts that it was written in.
    pub fn finish(mut self, shard: &mut Shard) -> io::Result<Vec<Bytes>> {
        let mut unlimited = usize::MAX;
        self.step(shard, &mut unlimited)?;
        shard.thaw();
        self.frames.finish()
    }

    /// Gives the snapshot up.
    pub fn abandon(self, shard: &mut Shard) {
        shard.thaw();
    }
}

fn header(shard: &Shard, topic: &str, partition: i32) -> proto::Header {
    let state = shard.state();
    proto::Header {
        format_version: FORMAT_VERSION,
        topic: topic.to_owned(),
        partition,
        next_offset: state.next_offset,
        customers: shard.tracked_customers() as u64,
        texts: shard.texts().len() as u64,
        hash_key: state.key.0.to_vec(),
        grace_period_ms: state.lifecycle.grace_period.as_millis(),
        inactivity_timeout_ms: state.lifecycle.inactivity_timeout.map(Span::as_millis),
        attributes: state.attributes,
        earliest_event_ms: state.earliest_event.map(Instant::as_millis),
        latest_event_ms: state.latest_event.map(Instant::as_millis),
        folded_before_ms: state.folded_before.map(Instant::as_millis),
    }
}

/// What is written so far: whole frames, and the customers of the next one.
struct Frames {
    whole: Vec<Bytes>,
    whole_bytes: usize,
    /// Empty, or room for the head and customers behind it.
    open: Vec<u8>,
}

impl Frames {
    fn begin(header: &proto::Header) -> io::Result<Self> {
        let whole = vec![Bytes::from_static(MAGIC)];
        let mut frames = Self { whole, whole_bytes: MAGIC.len(), open: Vec::new() };
        frames.message(header)?;
        Ok(frames)
    }

    fn written_bytes(&self) -> usize {
        self.whole_bytes + self.open.len()
    }

    fn message(&mut self, message: &impl Message) -> io::Result<()> {
        self.open = vec![0; HEAD_BYTES];
        message.encode(&mut self.open).map_err(io::Error::other)?;
        self.close()
    }

    /// Writes texts of these numbers until `end_bytes` are written in all; returns which are left.
    fn texts(&mut self, shard: &Shard, numbers: Range<usize>, end_bytes: usize) -> io::Result<Range<usize>> {
        let mut left = numbers;
        let mut texts = shard.texts().skip(left.start).take(left.len());
        while !left.is_empty() && self.written_bytes() < end_bytes {
            let mut part = proto::Texts::default();
            let mut size_bytes = 0;
            while size_bytes < FRAME_BYTES
                && let Some(text) = texts.next()
            {
                part.texts.push(text.to_owned());
                size_bytes += text.len() + 8;
            }
            left.start += part.texts.len();
            self.message(&part)?;
        }
        Ok(left)
    }

    fn customer(&mut self, key: &[u8], packed: &[u8]) -> io::Result<()> {
        if self.open.is_empty() {
            self.open.reserve_exact(HEAD_BYTES + FRAME_BYTES + 1024);
            self.open.resize(HEAD_BYTES, 0);
        }
        self.open.extend_from_slice(key);
        encode_varint(packed.len() as u64, &mut self.open);
        self.open.extend_from_slice(packed);
        if self.open.len() >= HEAD_BYTES + FRAME_BYTES { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> io::Result<()> {
        let mut frame = std::mem::take(&mut self.open);
        if let Some((head, payload)) = frame.split_first_chunk_mut::<HEAD_BYTES>() {
            let len = u32::try_from(payload.len())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a customer's history is longer than 4 GiB"))?;
            let checksum = crc32c::crc32c(payload);
            *head = (u64::from(checksum) << 32 | u64::from(len)).to_le_bytes();
            self.whole_bytes += frame.len();
            self.whole.push(Bytes::from(frame));
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<Bytes>> {
        self.close()?;
        Ok(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, SignupPeriod};
    use crate::proto::lifecycle_event::Event as Kind;
    use crate::proto::{Activity, LifecycleEvent, Renewed, Started};
    use crate::settings::Settings;
    use crate::shard::HashKey;

    /// More than fit a chunk of records, or a frame.
    const CUSTOMERS: u32 = 10_000;
    const BEGIN_S: i64 = 1_767_225_600;

    #[derive(Clone, Debug)]
    enum Step {
        Event { customer: u32, day: i64, kind: u8, plan: u8 },
        Publish { day: i64 },
        Write { bytes: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        // Some again and again, so that they spill; some new.
        let customer = prop_oneof![2 => 0..4_u32, 2 => 0..CUSTOMERS, 1 => CUSTOMERS..CUSTOMERS + 50];
        prop_oneof![
            12 => (customer, 0..400_i64, 0..4_u8, any::<u8>())
                .prop_map(|(customer, day, kind, plan)| Step::Event { customer, day, kind, plan }),
            1 => (0..400_i64).prop_map(|day| Step::Publish { day }),
            4 => prop_oneof![0..100_usize, 0..100_000_usize].prop_map(|bytes| Step::Write { bytes }),
        ]
    }

    fn definitions() -> Arc<Definitions> {
        let mut definitions = Settings::default().definitions();
        let attribute = "plan".to_owned();
        definitions.dimensions = vec![Dimension { name: attribute.clone(), attribute, value: DimensionValue::Window }];
        let by = vec![DimensionRef::Declared(0), DimensionRef::Signup(SignupPeriod::Week)];
        definitions.groupings = vec![Grouping { by }];
        Arc::new(definitions)
    }

    fn take(shard: &mut Shard, step: &Step) {
        match *step {
            Step::Event { customer, day, kind, plan } => {
                let kind = match kind {
                    0 => Kind::Started(Started::default()),
                    1 => Kind::Renewed(Renewed::default()),
                    _ => Kind::Activity(Activity::default()),
                };
                let message = LifecycleEvent {
                    customer_id: customer.to_string(),
                    event_time: Some(pbjson_types::Timestamp { seconds: BEGIN_S + day * 86_400, nanos: 0 }),
                    attributes: [("plan".to_owned(), plan.to_string())].into(),
                    event: Some(kind),
                    ..LifecycleEvent::default()
                };
                shard.consume_message(&message, None);
                shard.set_next_offset(shard.next_offset() + 1);
            }
            Step::Publish { day } => {
                let as_of = Instant::from_millis((BEGIN_S + day * 86_400) * 1_000);
                shard.advance(as_of);
                shard.fold_before_windows_of(as_of);
            }
            Step::Write { .. } => {}
        }
    }

    fn whole(shard: &Shard) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(shard, "t", 3, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Also where the snapshot before was given up half-way; and the shard does not notice.
        #[test]
        fn slices_are_the_whole_as_it_was_at_the_beginning(
            given_up in prop::collection::vec(step(), 0..30),
            before in prop::collection::vec(step(), 0..60),
            meanwhile in prop::collection::vec(step(), 0..120),
        ) {
            let [mut shard, mut twin] = [(); 2].map(|()| {
                let mut shard = Shard::new(definitions(), HashKey([7; 16]));
                for customer in 0..CUSTOMERS {
                    let (day, plan) = (i64::from(customer % 300), customer as u8);
                    take(&mut shard, &Step::Event { customer, day, kind: 0, plan });
                }
                shard
            });
            let mut first = Slices::begin(&mut shard, "t", 3).unwrap();
            for step in &given_up {
                take(&mut shard, step);
                take(&mut twin, step);
                write_on(&mut first, &mut shard, step);
            }
            first.abandon(&mut shard);
            for step in &before {
                take(&mut shard, step);
                take(&mut twin, step);
            }
            let expected = whole(&shard);
            let mut slices = Slices::begin(&mut shard, "t", 3).unwrap();
            prop_assert_eq!(slices.next_offset(), shard.next_offset());
            for step in &meanwhile {
                take(&mut shard, step);
                take(&mut twin, step);
                write_on(&mut slices, &mut shard, step);
            }
            prop_assert!(slices.finish(&mut shard).unwrap().concat() == expected);
            prop_assert!(whole(&shard) == whole(&twin));
        }
    }

    fn write_on(slices: &mut Slices, shard: &mut Shard, step: &Step) {
        if let Step::Write { bytes } = *step {
            slices.step(shard, &mut bytes.clone()).unwrap();
        }
    }

    #[test]
    fn a_slice_is_as_long_as_its_budget() {
        let mut shard = Shard::new(definitions(), HashKey([7; 16]));
        for customer in 0..CUSTOMERS {
            take(&mut shard, &Step::Event { customer, day: 3, kind: 0, plan: customer as u8 });
        }
        let mut slices = Slices::begin(&mut shard, "t", 3).unwrap();
        let (mut steps, mut written, mut done) = (0, slices.frames.written_bytes(), false);
        while !done {
            let mut budget_bytes = 10_000;
            done = slices.step(&mut shard, &mut budget_bytes).unwrap();
            let slice = slices.frames.written_bytes() - written;
            assert!(slice < 10_500 && done == (budget_bytes > 0), "{slice}");
            written += slice;
            steps += 1;
        }
        assert!(steps > 20 && written > FRAME_BYTES, "{steps} steps, {written} bytes");
        let whole = whole(&shard);
        assert_eq!((whole.len(), slices.finish(&mut shard).unwrap().concat() == whole), (written, true));
    }

    #[test]
    fn one_snapshot_of_a_shard_ends_the_one_before() {
        let mut shard = Shard::new(definitions(), HashKey([7; 16]));
        take(&mut shard, &Step::Event { customer: 1, day: 3, kind: 0, plan: 0 });
        let first = Slices::begin(&mut shard, "t", 3).unwrap();
        let second = Slices::begin(&mut shard, "t", 3).unwrap();
        assert_eq!(second.finish(&mut shard).unwrap().concat(), whole(&shard));
        assert!(first.finish(&mut shard).is_err(), "half of it is gone");
    }
}
