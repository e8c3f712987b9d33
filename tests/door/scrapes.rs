//! Many scrapes at once, and no more connections to be had: each in a process of its own, whose memory and files are
//! what is looked at.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use churnwatch::http::Server;

use super::slow::{connect, limits, serve, serve_text};
use crate::support::until;

/// Whether this process was started for this test alone; else it has been, after the shell's command, and has passed.
#[track_caller]
fn is_alone(test: &str, command: &str) -> bool {
    const ALONE: &str = "CHURNWATCH_TEST_ALONE";
    if std::env::var(ALONE).is_ok_and(|alone| alone == test) {
        return true;
    }
    let mut again = Command::new("sh");
    again.args(["-c", &format!("{command}\nexec \"$0\" \"$@\"")]).arg(std::env::current_exe().unwrap());
    let output = again.args(["--exact", test, "--nocapture"]).env(ALONE, test).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// A figure of this process, in bytes.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() * 1024
}

/// Text that gzip makes little of.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut line = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("# {state:016x}\n")
    };
    (0..bytes / 19).map(|_| line()).collect()
}

/// Asks for the metrics, and gives the status.
fn ask(stream: &mut TcpStream, encoding: &str) -> String {
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    String::from_utf8_lossy(&status[9..]).into_owned()
}

/// Scrapes, and gives the whole answer.
fn scrape(server: &Server) -> String {
    let mut stream = connect(server);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(ask(&mut stream, "identity"), "200");
    let mut taken = String::new();
    stream.read_to_string(&mut taken).unwrap();
    taken
}

#[test]
fn clients_that_do_not_listen_share_one_page_and_keep_no_scrape_out() {
    // More than the buffers between take, also compressed.
    const PAGE_BYTES: usize = 16 << 20;
    const CLIENTS: usize = 40;
    if !is_alone("door::scrapes::clients_that_do_not_listen_share_one_page_and_keep_no_scrape_out", "") {
        return;
    }
    let text = noise(PAGE_BYTES);
    let server = serve_text(limits(), text.clone());
    let before = memory("VmRSS:");
    let ask_only = |n: usize| {
        let mut client = connect(&server);
        assert_eq!(ask(&mut client, if n.is_multiple_of(2) { "identity" } else { "gzip" }), "200");
        client
    };
    let is_whole = |answer: &str| answer.contains(&text) && answer.contains("\nchurnwatch_build_info{");
    let mut deaf: VecDeque<TcpStream> = (0..CLIENTS).map(ask_only).collect();
    let grown = memory("VmHWM:").saturating_sub(before);
    assert!(grown < 4 * PAGE_BYTES, "{grown} bytes for {CLIENTS} answers of {PAGE_BYTES}");

    // One too many, again and again, and each time there is a deaf one more.
    for n in 0..CLIENTS / 2 {
        assert!(is_whole(&scrape(&server)));
        deaf.push_back(ask_only(n));
    }
    let grown = memory("VmHWM:").saturating_sub(before);
    // The answers that are taken here are in the same memory: two of them, and what they are read into.
    assert!(grown < 10 * PAGE_BYTES, "{grown} bytes for {CLIENTS} answers of {PAGE_BYTES}");

    // Who has listened for the shortest is still being answered; the first are gone, with what the system held for them.
    let mut taken = String::new();
    let mut last = deaf.remove(deaf.len() - 2).unwrap();
    last.read_to_string(&mut taken).unwrap();
    assert!(is_whole(&taken), "it was all there");
    let ended = deaf[0].read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    assert_eq!(ended, Err(io::ErrorKind::ConnectionReset));
}

#[test]
fn want_of_files_is_said_once_and_passes() {
    if !is_alone("door::scrapes::want_of_files_is_said_once_and_passes", "ulimit -n 64") {
        return;
    }
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone()).init();
    let lines = |level: &str| {
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("could not be accepted") && line.contains(level)).count()
    };

    let server = serve(limits(), 0);
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.pop();
    let mut client = connect(&server);
    until("refused several times", || lines("DEBUG") >= 2);
    assert_eq!(lines("WARN"), 1);
    drop(files);
    assert_eq!(ask(&mut client, "identity"), "200");
}
