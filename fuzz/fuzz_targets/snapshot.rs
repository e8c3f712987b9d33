//! Any bytes as a snapshot, with checksums put right, which no fuzzer finds by itself. What is restored is written
//! and restored again alike, and goes on living.

#![no_main]

#[path = "../definitions.rs"]
mod definitions;

use std::sync::Arc;

use churnwatch::snapshot;
use churnwatch::time::Instant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let definitions = Arc::new(definitions::definitions());
    let Ok((header, mut shard)) = snapshot::read(&mut seal(bytes).as_slice(), definitions.clone()) else { return };

    let mut written = Vec::new();
    let topic = header.topic.clone();
    snapshot::write(&shard, &topic, header.partition, &mut written).expect("a vector takes any bytes");
    let (again, restored) = snapshot::read(&mut written.as_slice(), definitions).expect("what was written is read");
    assert_eq!(again, header);

    let mut written_again = Vec::new();
    snapshot::write(&restored, &topic, header.partition, &mut written_again).expect("a vector takes any bytes");
    assert_eq!(written_again, written);

    shard.advance(Instant::from_millis(1_800_000_000_000));
    let _ = shard.readings();
});

/// Behind eight bytes of its own, a snapshot has frames: a length, a checksum, and as many bytes.
fn seal(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    let mut rest = sealed.get_mut(8..).unwrap_or_default();
    while let Some((head, after)) = rest.split_first_chunk_mut::<8>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((payload, next)) = after.split_at_mut_checked(length) else { break };
        head[4..].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        rest = next;
    }
    sealed
}
