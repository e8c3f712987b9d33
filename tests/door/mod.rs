//! Who may come in: TLS, client certificates, passwords and their reloading, tried with curl.

mod reload;
mod scrapes;
mod secrets;
mod slow;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use churnwatch::http::{Limits, Listen, Server};
use churnwatch::own_metrics::OwnMetrics;
use churnwatch::publish::Published;
use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::tool;

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

/// A directory with a CA, certificates of a server and of a client, and a web configuration.
struct Files {
    directory: TempDir,
    authority: Authority,
}

impl Files {
    fn new(web_config: &str) -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), authority: Authority::new("churnwatch test CA") };
        files.authority.write(&files.path("ca.crt"));
        files.authority.issue(files.directory.path(), "server", &["localhost"]);
        files.authority.issue(files.directory.path(), "client", &["prometheus.example", "10.1.2.3"]);
        let other = Authority::new("another CA");
        other.issue(files.directory.path(), "stranger", &["prometheus.example"]);
        other.write(&files.path("another.crt"));
        files.write("web.yml", web_config);
        files
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn listen(&self) -> Listen {
        Listen {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            web_config_file: Some(self.path("web.yml")),
            limits: Limits::default(),
        }
    }

    /// Serves under this web configuration.
    fn serve(self) -> Served {
        let own = OwnMetrics::new();
        let published = Arc::new(Published::new(Duration::from_secs(3600)));
        let server = Server::start(self.listen(), published, own.clone()).unwrap();
        Served { server, own, files: self }
    }

    /// Why it cannot be served under this web configuration.
    fn refused(&self) -> String {
        let published = Arc::new(Published::new(Duration::from_secs(3600)));
        let error = Server::start(self.listen(), published, OwnMetrics::new()).err().unwrap();
        format!("{error:#}")
    }
}

struct Served {
    server: Server,
    own: OwnMetrics,
    files: Files,
}

/// What curl has got.
struct Got {
    /// 0 where there was no answer.
    status: u16,
    headers: String,
    body: String,
    /// curl's own exit code, and what it says.
    code: i32,
    said: String,
}

impl Served {
    /// Asks for a page, as `https://localhost` and trusting the test's CA unless told otherwise. `None` without curl.
    fn curl(&self, scheme: &str, arguments: &[&str]) -> Option<Got> {
        self.curl_of(scheme, "/metrics", arguments)
    }

    fn curl_of(&self, scheme: &str, path: &str, arguments: &[&str]) -> Option<Got> {
        let mut curl: Command = tool::command("curl", "curl", "what curl says of the door")?;
        let port = self.server.address().port();
        let output = curl
            .current_dir(self.files.directory.path())
            .args(["--silent", "--show-error", "--include", "--max-time", "30", "--noproxy", "*"])
            .args(["--cacert", "ca.crt", "--resolve", &format!("localhost:{port}:127.0.0.1")])
            .args(arguments)
            .arg(format!("{scheme}://localhost:{port}{path}"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let said = String::from_utf8(output.stderr).unwrap();
        let (headers, body) = (headers.to_lowercase(), body.to_owned());
        Some(Got { status, headers, body, code: output.status.code().unwrap(), said })
    }

    /// The status that curl gets, 0 where there is none.
    #[track_caller]
    fn answers(&self, scheme: &str, arguments: &[&str], status: u16) {
        let Some(got) = self.curl(scheme, arguments) else { return };
        assert_eq!(got.status, status, "{arguments:?}: {} {} {}", got.code, got.said, got.headers);
        assert_eq!(got.status == 200, got.body.contains("churnwatch_build_info{"), "{}", got.body);
    }
}

fn hash(password: &str) -> String {
    // The cheapest there is: its strength is not what is tested.
    bcrypt::hash(password, 4).unwrap()
}

#[test]
fn tls_is_spoken_and_nothing_else() {
    let served = Files::new(TLS).serve();
    assert!(served.server.url().starts_with("https://127.0.0.1:"), "{}", served.server.url());
    served.answers("https", &[], 200);
    served.answers("https", &["--tlsv1.3"], 200);
    served.answers("https", &["--tls-max", "1.2"], 200);
    served.answers("https", &["--http2"], 200);

    let Some(got) = served.curl("https", &["--cacert", "another.crt"]) else { return };
    assert_eq!((got.status, got.code), (0, 60), "whose certificate is this? {}", got.said);
    let got = served.curl("https", &["--tls-max", "1.1"]).unwrap();
    assert_eq!((got.status, got.code), (0, 35), "{}", got.said);
    let got = served.curl("http", &[]).unwrap();
    assert_eq!((got.status, got.code, got.body.as_str()), (400, 0, "this port speaks HTTPS\n"), "{}", got.said);
}

#[test]
fn a_tls_client_at_a_plain_port_fails() {
    let served = Files::new("").serve();
    served.answers("http", &[], 200);
    let Some(got) = served.curl("https", &[]) else { return };
    assert_eq!((got.status, got.code), (0, 35), "{}", got.said);
}

#[test]
fn versions_suites_and_curves_are_as_configured() {
    let served = Files::new(&format!("{TLS}  min_version: TLS13\n")).serve();
    served.answers("https", &[], 200);
    served.answers("https", &["--tls-max", "1.2"], 0);

    let one_suite = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n  \
                     curve_preferences: [CurveP384]\n";
    let served = Files::new(&format!("{TLS}{one_suite}")).serve();
    served.answers("https", &[], 200);
    served.answers("https", &["--tlsv1.3"], 0);
    served.answers("https", &["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"], 200);
    served.answers("https", &["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"], 0);
    // A client of TLS 1.2 also says by its curves which keys it takes: P-256 is the certificate's.
    served.answers("https", &["--curves", "P-256:P-384"], 200);
    served.answers("https", &["--curves", "P-256"], 0);
}

const CLIENT: [&str; 4] = ["--cert", "client.crt", "--key", "client.key"];
/// Of another CA.
const STRANGER: [&str; 4] = ["--cert", "stranger.crt", "--key", "stranger.key"];

#[test]
fn client_certificates_are_asked_for_as_configured() {
    for (client_auth, without, with, with_a_strangers) in [
        ("RequireAndVerifyClientCert\n  client_ca_file: ca.crt", 0, 200, 0),
        ("VerifyClientCertIfGiven\n  client_ca_file: ca.crt", 200, 200, 0),
        ("RequireAnyClientCert", 0, 200, 200),
        ("RequestClientCert", 200, 200, 200),
        ("NoClientCert", 200, 200, 200),
        (
            "RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [prometheus.example]",
            0,
            200,
            0,
        ),
        ("RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [x, 10.1.2.3]", 0, 200, 0),
        ("RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [example, 10.1.2.4]", 0, 0, 0),
    ] {
        for version in ["--tlsv1.3", "--tls-max=1.2"] {
            let version: Vec<&str> = version.split('=').collect();
            let served = Files::new(&format!("{TLS}  client_auth_type: {client_auth}\n")).serve();
            served.answers("https", &version, without);
            served.answers("https", &[&version, &CLIENT[..]].concat(), with);
            served.answers("https", &[&version, &STRANGER[..]].concat(), with_a_strangers);
        }
    }
}

#[test]
fn a_name_and_a_password_open_every_page() {
    let users = format!("{TLS}basic_auth_users:\n  alice: {}\n  bob: {}\n", hash("right"), hash("bob's"));
    let served = Files::new(&users).serve();
    for (given, status) in [
        (&[][..], 401),
        (&["--user", "alice:right"], 200),
        (&["--user", "alice:right"], 200),
        (&["--user", "bob:bob's"], 200),
        (&["--user", "alice:wrong"], 401),
        (&["--user", "alice:bob's"], 401),
        (&["--user", "alice:"], 401),
        (&["--user", "mallory:right"], 401),
        (&["--header", "Authorization: Bearer right"], 401),
    ] {
        served.answers("https", given, status);
    }
    for path in ["/", "/-/ready", "/readyz", "/-/healthy", "/healthz", "/nowhere"] {
        let Some(got) = served.curl_of("https", path, &[]) else { return };
        assert_eq!(got.status, 401, "{path}");
        assert!(got.headers.contains("\r\nwww-authenticate: basic realm="), "{}", got.headers);
        assert_ne!(served.curl_of("https", path, &["--user", "alice:right"]).unwrap().status, 401, "{path}");
    }
}

#[test]
fn headers_are_on_every_answer_and_too_many_requests_are_refused_but_no_probes() {
    let served = Files::new(
        "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    \
         Content-Security-Policy: default-src 'self'\nrate_limit:\n  interval: 1h\n  burst: 2\n",
    )
    .serve();
    for (path, status) in
        [("/metrics", 200), ("/nowhere", 404), ("/metrics", 429), ("/healthz", 200), ("/-/healthy", 200), ("/", 429)]
    {
        let Some(got) = served.curl_of("http", path, &[]) else { return };
        assert_eq!(got.status, status, "{path}");
        for probe in ["/readyz", "/-/ready"] {
            assert_eq!(served.curl_of("http", probe, &[]).unwrap().status, 503, "not ready, and said so");
        }
        for header in
            ["x-frame-options: deny", "content-security-policy: default-src 'self'", "cache-control: no-store"]
        {
            assert!(got.headers.contains(header), "{header} in {}", got.headers);
        }
    }
}

#[test]
fn what_cannot_be_used_is_named_with_its_file() {
    for (web_config, words) in [
        (TLS.replace("server.crt", "absent.crt"), "cert_file: cannot read "),
        (TLS.replace("server.crt", "server.key"), "server.key: there is no certificate in it"),
        (TLS.replace("server.key", "server.crt"), "key_file "),
        (TLS.replace("server.key", "client.key"), "the very key that it was made for"),
        (
            format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key\n"),
            "client_ca_file ",
        ),
        (
            format!("{TLS}basic_auth_users:\n  alice: right\n"),
            "web.yml:5:10: the password of \"alice\" is no bcrypt hash",
        ),
        (
            TLS.replace("key_file", "keyfile"),
            "web.yml:3:3: unknown key `keyfile` in tls_server_config; did you mean `key_file`?",
        ),
    ] {
        let error = Files::new(&web_config).refused();
        assert!(error.contains(words), "{words} in {error}");
        assert!(!error.contains("PRIVATE") && !error.contains("right"), "{error}");
    }
    let files = Files::new("");
    fs::remove_file(files.path("web.yml")).unwrap();
    assert!(files.refused().contains("http.web_config_file: cannot read "), "{}", files.refused());
}

#[test]
fn promtool_likes_our_examples_and_we_serve_them() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/web-config");
    let mut names: Vec<_> = fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "one test each");
    for path in &names {
        let files = Files::new(&fs::read_to_string(path).unwrap());
        if let Some(mut promtool) = tool::command("promtool", "prometheus", "promtool check web-config") {
            let checked = promtool.args(["check", "web-config"]).arg(files.path("web.yml")).output().unwrap();
            let said = [checked.stdout, checked.stderr].concat();
            assert!(checked.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&said));
        }
        let (mutual, served) = (path.ends_with("mutual-tls.yml"), files.serve());
        served.answers("https", &CLIENT, if mutual { 200 } else { 401 });
        served.answers("https", &["--user", "prometheus:change me"], if mutual { 0 } else { 200 });
    }
}
