use std::fs::File;
use std::io::Write as _;

use prost::Message;
use tempfile::TempDir;

use super::*;
use crate::proto::{Activity, lifecycle_event};

/// Writes files of the given contents and reads them all.
fn read_all(files: &[(&str, &[u8])]) -> Vec<(String, Result<String, Unreadable>)> {
    let directory = TempDir::new().unwrap();
    let paths = files
        .iter()
        .map(|(name, content)| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path
        })
        .collect();
    let mut reader = EventReader::new(paths, None).unwrap();
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let position = item.position.to_string().replace(&format!("{}/", directory.path().display()), "");
        items.push((position, item.content.map(|record| record.message.customer_id.clone())));
    }
    assert_eq!(reader.total_bytes(), Some(files.iter().map(|(_, content)| content.len() as u64).sum()));
    items
}

fn places(items: &[(String, Result<String, Unreadable>)]) -> Vec<(&str, &str)> {
    items.iter().map(|(place, content)| (place.as_str(), content.as_deref().unwrap_or("unreadable"))).collect()
}

fn event(customer_id: &str) -> LifecycleEvent {
    LifecycleEvent {
        customer_id: customer_id.to_owned(),
        event: Some(lifecycle_event::Event::Activity(Activity {})),
        ..Default::default()
    }
}

fn delimited(messages: &[LifecycleEvent]) -> Vec<u8> {
    messages.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

#[test]
fn the_format_is_guessed_from_the_name() {
    for (name, format) in [
        ("a.jsonl", Some(Format::Jsonl)),
        ("a.b.NDJSON", Some(Format::Jsonl)),
        ("dir.pb/a.json", Some(Format::Jsonl)),
        ("-", Some(Format::Jsonl)),
        ("a.pb", Some(Format::Protobuf)),
        ("a.binpb", Some(Format::Protobuf)),
        ("a.bin", Some(Format::Protobuf)),
        ("a.protobuf", Some(Format::Protobuf)),
        ("a.delimited", Some(Format::Protobuf)),
        ("a.txt", None),
        ("jsonl", None),
        ("dir.pb/a", None),
    ] {
        assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
    }
    assert_eq!("jsonl".parse(), Ok(Format::Jsonl));
    assert_eq!("protobuf".parse(), Ok(Format::Protobuf));
    assert!("csv".parse::<Format>().is_err());
}

#[test]
fn a_name_without_a_format_needs_the_option() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("events.txt");
    fs::write(&path, r#"{"customerId":"a"}"#).unwrap();

    let error = EventReader::new(vec![path.clone()], None).err().unwrap().to_string();
    assert!(error.ends_with("events.txt: the name does not say its format: add --format jsonl or --format protobuf"));

    let mut reader = EventReader::new(vec![path], Some(Format::Jsonl)).unwrap();
    let item = reader.next_item().unwrap().unwrap();
    assert_eq!(item.content.unwrap().message.customer_id, "a");
}

#[test]
fn a_file_that_cannot_be_opened_is_named_before_anything_is_read() {
    let directory = TempDir::new().unwrap();
    let good = directory.path().join("good.jsonl");
    fs::write(&good, "{}").unwrap();
    for (bad, reason) in
        [(directory.path().join("absent.jsonl"), "o such file"), (directory.path().into(), "directory")]
    {
        let error = EventReader::new(vec![good.clone(), bad.clone()], Some(Format::Jsonl)).err().unwrap();
        let error = format!("{:#}", anyhow::Error::from(error));
        assert!(error.starts_with(&format!("{}: cannot be read: ", bad.display())), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn lines_are_counted_and_blank_ones_skipped() {
    let first = b"\xef\xbb\xbf{\"customerId\":\"a\"}\r\n\n  \t\r\n{\"customerId\":\"b\"}\n\n";
    let second = b"\n{\"customerId\":\"c\"}";
    let items = read_all(&[("1.jsonl", first), ("2.jsonl", second), ("3.jsonl", b""), ("4.jsonl", b"{}\n")]);
    let expected = [("1.jsonl:1", "a"), ("1.jsonl:4", "b"), ("2.jsonl:2", "c"), ("4.jsonl:1", "")];
    assert_eq!(places(&items), expected);
}

#[test]
fn reading_goes_on_behind_a_bad_line() {
    let content = b"{\"customerId\":\"a\"}\nnonsense\n{\"customer\":\"b\"}\n{\"customerId\":\"\xff\"}\n{\"customerId\":\"c\"}\n{\"cus";
    let items = read_all(&[("1.jsonl", content), ("2.jsonl", b"{\"customerId\":\"d\"}")]);
    assert_eq!(
        places(&items),
        [
            ("1.jsonl:1", "a"),
            ("1.jsonl:2", "unreadable"),
            ("1.jsonl:3", "unreadable"),
            ("1.jsonl:4", "unreadable"),
            ("1.jsonl:5", "c"),
            ("1.jsonl:6", "unreadable"),
            ("2.jsonl:1", "d"),
        ]
    );
    let reason = items[2].1.as_ref().unwrap_err().to_string();
    assert!(reason.starts_with("unknown field `customer`"), "{reason}");
}

#[test]
fn a_line_beyond_the_limit_is_skipped_without_keeping_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("long.jsonl");
    let mut file = File::create(&path).unwrap();
    // Sparse: zeros without a line break.
    file.set_len(MAX_RECORD_BYTES as u64 * 2).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(b"\n{\"customerId\":\"a\"}\n").unwrap();

    let mut reader = EventReader::new(vec![path], None).unwrap();
    let item = reader.next_item().unwrap().unwrap();
    assert_eq!(item.content.unwrap_err(), Unreadable::Record("the line is longer than 64 MiB".to_owned()));
    let item = reader.next_item().unwrap().unwrap();
    assert_eq!((item.position.number, item.content.unwrap().message.customer_id.as_str()), (2, "a"));
    assert!(reader.next_item().unwrap().is_none());
    assert_eq!(Some(reader.read_bytes()), reader.total_bytes());
}

#[test]
fn messages_are_counted_with_their_bytes() {
    // 200 bytes and more need a length of two bytes.
    let long = "x".repeat(200);
    let content = delimited(&[event("a"), event(&long), LifecycleEvent::default(), event("b")]);
    let items = read_all(&[("1.pb", &content), ("2.pb", b""), ("3.bin", &delimited(&[event("c")]))]);
    assert_eq!(
        places(&items),
        [
            ("1.pb: record 1 at byte 0", "a"),
            ("1.pb: record 2 at byte 6", long.as_str()),
            ("1.pb: record 3 at byte 213", ""),
            ("1.pb: record 4 at byte 214", "b"),
            ("3.bin: record 1 at byte 0", "c"),
        ]
    );
}

#[test]
fn a_protobuf_record_lends_its_original_bytes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("1.pb");
    // An unknown field 100, which the message does not keep.
    let payload = [event("a").encode_to_vec(), b"\xa0\x06\x01".to_vec()].concat();
    fs::write(&path, [&[payload.len() as u8], payload.as_slice()].concat()).unwrap();

    let mut reader = EventReader::new(vec![path], None).unwrap();
    let record = reader.next_item().unwrap().unwrap().content.unwrap();
    assert_eq!(record.payload, Some(payload.as_slice()));
    assert_eq!(record.message, &event("a"));
}

#[test]
fn reading_goes_on_behind_a_message_that_cannot_be_decoded() {
    let content = [delimited(&[event("a")]), b"\x02\xff\xff".to_vec(), delimited(&[event("b")])].concat();
    let items = read_all(&[("1.pb", &content)]);
    let expected = ["a", "unreadable", "b"].map(Some);
    assert_eq!(places(&items).iter().map(|(_, what)| Some(*what)).collect::<Vec<_>>(), expected);
    assert!(matches!(items[1].1, Err(Unreadable::Record(_))), "{:?}", items[1]);
}

#[test]
fn lost_framing_ends_the_file_and_the_next_one_goes_on() {
    for (tail, reason) in [
        (b"\x05abc".as_slice(), "the file ends after 3 of the message's 5 bytes"),
        (b"\x80", "the file ends inside the message's length"),
        (b"\x81\x80\x80\x20", "the message's length is given as 67108865 bytes, more than 64 MiB"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "the message's length is given as 18446744073709551615 bytes"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "the message's length is not a varint"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "the message's length is not a varint"),
        (b"\x80\x80\x80\x20", "the file ends after 0 of the message's 67108864 bytes"),
    ] {
        let content = [delimited(&[event("a")]), tail.to_vec()].concat();
        let items = read_all(&[("1.pb", &content), ("2.pb", &delimited(&[event("b")]))]);
        let expected = [
            ("1.pb: record 1 at byte 0", "a"),
            ("1.pb: record 2 at byte 6", "unreadable"),
            ("2.pb: record 1 at byte 0", "b"),
        ];
        assert_eq!(places(&items), expected);
        match &items[1].1 {
            Err(Unreadable::Framing(found)) => assert!(found.starts_with(reason), "{found}"),
            other => panic!("{other:?}"),
        }
    }
}
