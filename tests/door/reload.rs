//! A web configuration that changes while it is in force.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{CLIENT, Files, Served, TLS, hash};
use crate::support::{tool, until};

const GOOD: &str = "churnwatch_web_config_last_reload_successful 1\n";
const BAD: &str = "churnwatch_web_config_last_reload_successful 0\n";

impl Served {
    /// The status that is got with this password of alice's.
    fn with(&self, password: &str) -> Option<u16> {
        Some(self.curl("https", &["--user", &format!("alice:{password}")])?.status)
    }

    /// Writes a web configuration that has this password, and waits until it was judged.
    fn change(&self, web_config: &str, expected: &str) {
        let written = self.own.page();
        let time = |page: &str| {
            let name = "churnwatch_web_config_last_reload_success_timestamp_seconds ";
            page.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
        };
        self.files.write("web.yml", web_config);
        until("judged", || {
            let page = self.own.page();
            page.contains(expected) && (expected == BAD || time(&page) != time(&written))
        });
    }
}

fn users(password: &str) -> String {
    format!("{TLS}basic_auth_users:\n  alice: {}\n", hash(password))
}

#[test]
fn a_changed_password_is_in_force_and_a_broken_file_is_not() {
    let served = Files::new(&users("first")).serve();
    until("counted", || served.own.page().contains(GOOD));
    if served.with("first").is_none() {
        return;
    }
    assert_eq!((served.with("first"), served.with("second")), (Some(200), Some(401)));
    served.change(&users("second"), GOOD);
    assert_eq!((served.with("first"), served.with("second")), (Some(401), Some(200)));

    for broken in [
        "basic_auth_users: [".to_owned(),
        users("third").replace("cert_file", "certfile"),
        users("third").replace("server.key", "absent.key"),
        // These are in order, and would let everybody in.
        String::new(),
        TLS.to_owned(),
        users("third").replace(TLS, ""),
    ] {
        served.change(&broken, BAD);
        assert_eq!((served.with("second"), served.with("third")), (Some(200), Some(401)), "{broken}");
        served.change(&users("second"), GOOD);
    }
}

#[test]
fn allowed_names_may_change_but_not_go() {
    let auth = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n");
    let names = |names: &str| format!("{auth}  client_allowed_sans: [{names}]\n");
    let served = Files::new(&names("prometheus.example")).serve();
    until("counted", || served.own.page().contains(GOOD));
    served.change(&auth, BAD);
    served.change(&names("another.example"), GOOD);
    served.answers("https", &CLIENT, 0);
    served.change(&auth, BAD);
    served.answers("https", &CLIENT, 0);
    served.change(&names("another.example, prometheus.example"), GOOD);
    served.answers("https", &CLIENT, 200);
}

/// Asks for as long as the connection lasts, and gives the last answer.
fn keep_asking(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut last = String::new();
    while stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").is_ok() {
        let mut answer = Vec::new();
        let mut bytes = [0; 4096];
        while !answer.ends_with(b"healthy\n") {
            match stream.read(&mut bytes) {
                Ok(read) if read > 0 => answer.extend(&bytes[..read]),
                _ => return last,
            }
        }
        last = String::from_utf8(answer).unwrap();
    }
    last
}

#[test]
fn a_connection_that_goes_on_asking_is_ended_by_a_change() {
    let header = |value: &str| format!("http_server_config:\n  headers:\n    X-Frame-Options: {value}\n");
    let served = Files::new(&header("deny")).serve();
    // An idle moment in which it is closed without a word is rare, but there is one.
    let told = ["sameorigin", "deny", "sameorigin"].into_iter().any(|value| {
        let stream = TcpStream::connect(served.server.address()).unwrap();
        let asking = std::thread::spawn(|| keep_asking(stream));
        served.change(&header(value), GOOD);
        asking.join().unwrap().contains("\r\nconnection: close\r\n")
    });
    assert!(told);
}

#[test]
fn a_changed_certificate_is_shown_from_the_next_handshake_on() {
    let served = Files::new(TLS).serve();
    if tool::command("curl", "curl", "the reload of a certificate").is_none() {
        return;
    }
    let trusted = |authority: &str| served.curl("https", &["--cacert", authority]).unwrap().status == 200;
    assert!(trusted("ca.crt"));
    let expires = |timestamp: &str| {
        served.own.page().contains(&format!("churnwatch_web_certificate_expiry_timestamp_seconds {timestamp}\n"))
    };
    assert!(expires("67090118400"), "4096");
    let renewed = crate::support::certificates::Authority::new("renewed");
    renewed.write(&served.files.path("renewed.crt"));
    renewed.issue_until(2040, served.files.directory.path(), "server", &["localhost"]);
    until("renewed", || trusted("renewed.crt"));
    assert!(!trusted("ca.crt"));
    assert!(expires("2208988800"), "2040");
    assert!(served.own.page().contains(GOOD));

    served.files.write("server.key", "nothing");
    until("said", || served.own.page().contains(BAD));
    assert!(trusted("renewed.crt"), "the one before stays in force");
}

#[test]
fn who_came_in_under_an_old_configuration_comes_in_again() {
    let served = Files::new("").serve();
    let mut kept = TcpStream::connect(served.server.address()).unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");

    served.change(&users("first"), GOOD);
    let mut rest = Vec::new();
    let closed = kept.read_to_end(&mut rest);
    assert!(closed.is_ok() || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert!(rest.ends_with(b"healthy\n"), "{}", String::from_utf8_lossy(&rest));
    served.answers("https", &["--user", "alice:first"], 200);
}
