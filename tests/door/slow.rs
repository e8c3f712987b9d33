//! Clients that say nothing, dribble, send too much or do not listen: no scrape waits for them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use churnwatch::http::{Limits, Listen, Server};
use churnwatch::own_metrics::{OwnMetrics, ProcessState};
use churnwatch::publish::{Page, Publication, Published};
use churnwatch::readings::Readings;
use churnwatch::time;

use super::{Files, TLS};

const LONG: Duration = Duration::from_secs(3600);
const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// None but of numbers.
pub fn limits() -> Limits {
    Limits { header: LONG, idle: LONG, answer: LONG, stall: LONG, max_connections: 1000, ..Limits::default() }
}

/// A server of a page of so many bytes, and somewhat more.
pub fn serve(limits: Limits, page_bytes: usize) -> Server {
    serve_text(limits, "# the same again and again\n".repeat(page_bytes / 27))
}

/// A server of a page with this text, and somewhat more.
pub fn serve_text(limits: Limits, text: String) -> Server {
    let published = Arc::new(Published::new(LONG));
    let publication = Publication { as_of: time::Instant::from_millis(0), readings: Readings::default() };
    published.swap(Page::published(publication, text, ProcessState::default()));
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(Listen { address, web_config_file: None, limits }, published, OwnMetrics::new()).unwrap()
}

pub fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Whether a new connection gets the page at once.
fn scrape(server: &Server) -> bool {
    let mut stream = connect(server);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.contains("\nchurnwatch_build_info{")
}

/// Waits until the server has closed the connection, and says how many bytes came before.
fn closed(stream: &mut TcpStream) -> usize {
    let mut bytes = vec![0; 1 << 16];
    let mut read = 0;
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return read,
            Ok(n) => read += n,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return read,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

#[test]
fn more_silent_connections_than_there_may_be_keep_nobody_out() {
    let server = serve(Limits { max_connections: 5, ..limits() }, 0);
    let mut scraper = connect(&server);
    let mut silent = Vec::new();
    for _ in 0..50 {
        // Half of them are in the middle of a header.
        silent.push(connect(&server));
        let mut dribbling = connect(&server);
        dribbling.write_all(b"GET /metrics HTTP/1.1\r\nX-").unwrap();
        silent.push(dribbling);
        assert!(scrape(&server));
    }
    // The oldest went first; what was idle in good order would have stayed.
    assert_eq!(closed(&mut scraper), 0);
    assert_eq!(closed(&mut silent[0]), 0);
}

#[test]
fn a_connection_in_use_outlives_a_flood_of_silent_ones() {
    let server = serve(Limits { max_connections: 5, ..limits() }, 0);
    let mut scraper = connect(&server);
    let mut ask = || {
        scraper.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"healthy\n") {
            let mut byte = [0];
            scraper.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    };
    ask();
    for _ in 0..10 {
        let silent: Vec<TcpStream> = (0..10).map(|_| connect(&server)).collect();
        ask();
        drop(silent);
    }
}

#[test]
fn of_too_many_connections_an_idle_one_goes_before_one_that_is_being_answered() {
    const PAGE_BYTES: usize = 32 << 20;
    let server = serve(Limits { max_connections: 2, ..limits() }, PAGE_BYTES);
    let mut answered = connect(&server);
    answered.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    answered.read_exact(&mut [0; 12]).unwrap();
    let mut idle = connect(&server);
    idle.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let mut third = connect(&server);
    third.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(closed(&mut third) > 0);
    idle.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    closed(&mut idle);
    assert!(closed(&mut answered) >= PAGE_BYTES / 27 * 27, "the answer came whole");
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let server = serve(Limits { header: Duration::from_millis(300), ..limits() }, 0);
    assert_eq!(closed(&mut connect(&server)), 0, "it said nothing");

    let mut dribbling = connect(&server);
    dribbling.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    dribbling.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").unwrap();
    let begun = Instant::now();
    let ended = loop {
        match (dribbling.write_all(b"a"), dribbling.read(&mut [0])) {
            (Ok(()), Err(error)) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            (_, ended) => break ended,
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "still open");
    };
    assert!(ended.is_err() || ended.is_ok_and(|read| read == 0), "it was answered");

    // Nor is the second one, on a connection that was good before.
    let mut second = connect(&server);
    second.write_all(GET).unwrap();
    second.read_exact(&mut [0; 12]).unwrap();
    second.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    assert!(closed(&mut second) > 0);
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let files = Files::new(TLS);
    let limits = Limits { header: Duration::from_millis(300), ..limits() };
    let listen = Listen { limits, ..files.listen() };
    let server = Server::start(listen, Arc::new(Published::new(LONG)), OwnMetrics::new()).unwrap();
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stream = connect(&server);
        stream.write_all(begun).unwrap();
        assert_eq!(closed(&mut stream), 0);
    }
}

#[test]
fn an_answer_that_is_not_taken_is_given_up() {
    const PAGE_BYTES: usize = 64 << 20;
    let server = serve(Limits { answer: Duration::from_millis(500), ..limits() }, PAGE_BYTES);
    let mut deaf = connect(&server);
    deaf.write_all(GET).unwrap();
    // The first bytes say that it has begun; the buffers between take some, and nobody takes the rest.
    deaf.read_exact(&mut [0; 12]).unwrap();
    let mut waiting = connect(&server);
    waiting.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(closed(&mut waiting) > 0, "others are answered meanwhile");
    let begun = Instant::now();
    let gone = loop {
        // Says without taking anything whether the other side is still there.
        match deaf.write(b"\r\n") {
            Err(_) => break true,
            Ok(_) if begun.elapsed() > Duration::from_secs(30) => break false,
            Ok(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    };
    assert!(gone && closed(&mut deaf) < PAGE_BYTES);
}

#[test]
fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let server = serve(Limits { idle: Duration::from_millis(300), ..limits() }, 0);
    let mut idle = connect(&server);
    idle.write_all(GET).unwrap();
    let begun = Instant::now();
    assert!(closed(&mut idle) > 0, "answered first");
    assert!(begun.elapsed() >= Duration::from_millis(300), "and then waited for");
    // Used again and again, it stays for longer than it may be idle.
    let mut used = connect(&server);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        used.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        used.read_exact(&mut [0; 20]).unwrap();
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let server = serve(limits(), 0);
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "a".repeat(1 << 20));
    let target = "a".repeat(1 << 20);
    for request in [
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{long}\r\n"),
        format!("GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{}", "a".repeat(1 << 20)),
    ] {
        let mut stream = connect(&server);
        // It may be closed before all is sent.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let refused = ["431", "414", "405"].iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status}")));
        assert!(answer.is_empty() || refused, "{answer}");
        assert!(scrape(&server));
    }
}
