//! The store over S3, as another implementation understands it.

use std::io::Read;

use bytes::Bytes;
use churnwatch::kafka::TopicPartition;
use churnwatch::snapshot::{Header, RestoreError};
use churnwatch::store::{SaveError, Store, StoreError};
use churnwatch::validate::check_store;

use super::moto::{self, Moto};
use crate::support::proxy::{Proxy, Traffic};
use crate::support::until;

fn open(address: &str, prefix: &str) -> Store {
    let environment = moto::environment(address);
    let options = environment.each_ref().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()));
    let options = options.each_ref().map(|(name, value)| (name.as_str(), *value));
    Store::open_with(&moto::snapshot(prefix), &options).unwrap()
}

fn proxy(moto: &Moto, traffic: Traffic) -> Proxy {
    let proxy = Proxy::start(moto.port());
    proxy.set(traffic);
    proxy
}

fn partition(partition: i32) -> TopicPartition {
    // Not a name that a URL may hold as it is.
    TopicPartition { topic: "customer events+1".into(), partition }
}

fn newest(store: &Store, of: &TopicPartition) -> Option<(i64, usize)> {
    let restored = store.restore(of, |input: &mut dyn Read| {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        let number = bytes.get(..8).ok_or_else(|| RestoreError::Damaged("too short".to_owned()))?;
        let next_offset = i64::from_le_bytes(number.try_into().unwrap());
        Ok((Header { topic: of.topic.to_string(), partition: of.partition, next_offset, customers: 0 }, bytes.len()))
    });
    restored.unwrap().newest.map(|newest| (newest.header.next_offset, newest.value))
}

/// In parts, as the store gets it.
fn snapshot(next_offset: i64, size_bytes: usize) -> Vec<Bytes> {
    let mut bytes = next_offset.to_le_bytes().to_vec();
    bytes.resize(size_bytes, 7);
    bytes.chunks(262_153).map(Bytes::copy_from_slice).collect()
}

#[test]
fn a_partition_is_claimed_saved_fenced_and_restored() {
    let Some(moto) = Moto::start("the snapshot store over S3") else { return };
    let (first, second) = (open(&moto.address, "a/b"), open(&moto.address, "a/b"));
    let of = partition(3);
    let early = first.claim(&of).unwrap();
    assert_eq!(newest(&first, &of), None);
    for next_offset in 1..=4 {
        first.save(&of, early, next_offset, snapshot(next_offset, 3_000_000)).unwrap();
    }
    assert_eq!(newest(&second, &of), Some((4, 3_000_000)));
    assert_eq!(newest(&second, &partition(4)), None);

    let late = second.claim(&of).unwrap();
    assert!(late > early);
    let fenced = first.save(&of, early, 9, snapshot(9, 100)).unwrap_err();
    assert!(matches!(fenced, SaveError::Fenced { by } if by == late), "{fenced}");
    assert_eq!(newest(&second, &of), Some((4, 3_000_000)));
    second.save(&of, late, 5, snapshot(5, 100)).unwrap();
    assert_eq!(newest(&first, &of), Some((5, 100)));

    let rebuilt = first.claim(&of).unwrap();
    first.set_aside(&of, rebuilt).unwrap();
    assert_eq!(newest(&second, &of), None);
    // Another prefix is another store.
    assert_eq!(newest(&open(&moto.address, "a"), &of), None);
}

#[test]
fn of_two_claims_at_once_the_second_is_told_and_may_try_again() {
    let Some(moto) = Moto::start("claims at once over S3") else { return };
    let proxy = proxy(&moto, Traffic::Flows);
    let (slow, quick) = (open(&format!("127.0.0.1:{}", proxy.port), "race"), open(&moto.address, "race"));
    // Whether the store can be relied on is asked before the first claim.
    slow.claim(&partition(1)).unwrap();
    proxy.set(Traffic::WritesWait);
    let (second, first) = std::thread::scope(|scope| {
        // It has seen no claim, and writes its own after the other one.
        let second = scope.spawn(|| slow.claim(&partition(0)));
        until("the slow claim is on its way", || proxy.waiting() > 0);
        let first = quick.claim(&partition(0)).unwrap();
        proxy.set(Traffic::Flows);
        (second.join().unwrap(), first)
    });
    let error = second.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(slow.claim(&partition(0)).unwrap() > first);
}

#[test]
fn a_server_that_ignores_the_condition_is_refused() {
    let Some(moto) = Moto::start("a server that ignores If-None-Match") else { return };
    let proxy = proxy(&moto, Traffic::Unconditional);
    let store = open(&format!("127.0.0.1:{}", proxy.port), "");
    let error = store.claim(&partition(0)).unwrap_err();
    assert!(matches!(error, StoreError::Overwrites { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("use a store that honours conditional writes"), "{error}");
    proxy.set(Traffic::Flows);
    store.claim(&partition(0)).unwrap();
}

#[test]
fn a_server_that_does_not_answer_is_tried_again_later() {
    let Some(moto) = Moto::start("a server that refuses and hangs") else { return };
    let proxy = proxy(&moto, Traffic::Cut);
    let store = open(&format!("127.0.0.1:{}", proxy.port), "");
    let of = partition(0);
    assert!(store.claim(&of).unwrap_err().is_transient());
    proxy.set(Traffic::Flows);
    let epoch = store.claim(&of).unwrap();
    store.save(&of, epoch, 1, snapshot(1, 100)).unwrap();
    for mode in [Traffic::Cut, Traffic::Stalled] {
        proxy.set(mode);
        let begun = std::time::Instant::now();
        let SaveError::Unavailable(error) = store.save(&of, epoch, 2, snapshot(2, 100)).unwrap_err() else {
            panic!("it was fenced by nobody")
        };
        assert!(error.is_transient(), "{error}");
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }
    proxy.set(Traffic::Flows);
    assert_eq!(newest(&store, &of), Some((1, 100)));
}

#[test]
fn a_bucket_that_is_not_there_or_not_ours_is_no_passing_trouble() {
    let Some(moto) = Moto::start("a bucket that is not there") else { return };
    ureq::delete(format!("http://{}/{}", moto.address, moto::BUCKET)).call().unwrap();
    let error = open(&moto.address, "").claim(&partition(0)).unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}

#[test]
fn validate_says_whether_snapshots_can_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = |path: std::path::PathBuf| churnwatch::settings::Snapshot {
        store: churnwatch::settings::StoreUrl::Directory(path),
        ..moto::snapshot("")
    };
    let mut out = Vec::new();
    check_store(&store(directory.path().join("new")), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("answers, and refuses to overwrite"));
    assert_eq!(std::fs::read_dir(directory.path().join("new")).unwrap().count(), 0);
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = format!("{:#}", check_store(&store(file.clone()), &mut Vec::new()).unwrap_err());
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}
