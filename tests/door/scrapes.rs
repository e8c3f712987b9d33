//! Many scrapes at once, and no more connections to be had: each in a process of its own, whose memory and files are
//! what is looked at.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

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

#[test]
fn clients_that_do_not_listen_share_one_page() {
    // More than the buffers between take, also compressed.
    const PAGE_BYTES: usize = 16 << 20;
    const CLIENTS: usize = 40;
    if !is_alone("door::scrapes::clients_that_do_not_listen_share_one_page", "") {
        return;
    }
    let text = noise(PAGE_BYTES);
    let server = serve_text(limits(), text.clone());
    let before = memory("VmRSS:");
    let mut deaf: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(&server)).collect();
    for (n, client) in deaf.iter_mut().enumerate() {
        assert_eq!(ask(client, if n % 2 == 0 { "identity" } else { "gzip" }), "200");
    }
    let grown = memory("VmHWM:").saturating_sub(before);
    assert!(grown < 4 * PAGE_BYTES, "{grown} bytes for {CLIENTS} answers of {PAGE_BYTES}");

    assert_eq!(ask(&mut connect(&server), "gzip"), "503", "one too many");
    let mut taken = String::new();
    deaf[0].read_to_string(&mut taken).unwrap();
    assert!(taken.contains(&text) && taken.contains("\nchurnwatch_build_info{"), "it was all there");
    until("answered again", || ask(&mut connect(&server), "identity") == "200");
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
