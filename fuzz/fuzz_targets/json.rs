//! Any bytes as a line of JSON; what is read stays the same through protobuf.

#![no_main]

use churnwatch::input::from_json;
use churnwatch::proto::LifecycleEvent;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|line: &[u8]| {
    let Ok(message) = from_json(line) else { return };
    assert_eq!(LifecycleEvent::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
});
