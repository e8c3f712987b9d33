//! TLS and SASL of every kind, as a configuration says it, against a broker that insists on them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use churnwatch::settings::{self, Settings};
use churnwatch::validate;

use super::fixture::{Fixture, LONG_WINDOWS};
use crate::kafka::fixture::{PATIENCE, configuration, events, replayed};
use crate::support::apache_kafka::broker::{More, Ports, free_port};
use crate::support::apache_kafka::{self, Cluster};
use crate::support::certificates::Authority;
use crate::support::process::churnwatch;

/// Also a part of the broker's properties: no character that means something there.
const PASSWORD: &str = "correct-horse";

/// A broker whose clients use TLS, by a password, a token or a certificate; and by nothing at all, to create topics.
struct Secured {
    cluster: Cluster,
    directory: tempfile::TempDir,
    sasl: u16,
    mutual: u16,
}

impl Secured {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("Kafka's CA");
        let path = |name: &str| directory.path().join(name);
        authority.write(&path("ca.crt"));
        authority.issue(directory.path(), "broker", &["localhost", "127.0.0.1"]);
        authority.issue(directory.path(), "client", &["churnwatch"]);
        Authority::new("another").issue(directory.path(), "stranger", &["churnwatch"]);
        let both = ["broker.key", "broker.crt"].map(|name| fs::read_to_string(path(name)).unwrap()).concat();
        fs::write(path("broker.pem"), both).unwrap();

        let (sasl, mutual, ports) = (free_port(), free_port(), Ports::choose());
        let Ports { clients, peers, controller } = ports;
        let login = "org.apache.kafka.common.security";
        let properties = format!(
            "listeners=CLIENTS://127.0.0.1:{clients},PEERS://127.0.0.1:{peers},CONTROLLER://127.0.0.1:{controller},\
             SECURED://127.0.0.1:{sasl},MUTUAL://127.0.0.1:{mutual}\n\
             advertised.listeners=CLIENTS://127.0.0.1:{clients},PEERS://127.0.0.1:{peers},SECURED://127.0.0.1:{sasl},\
             MUTUAL://127.0.0.1:{mutual}\n\
             listener.security.protocol.map=CLIENTS:PLAINTEXT,PEERS:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL,MUTUAL:SSL\n\
             ssl.keystore.type=PEM\nssl.keystore.location={keystore}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={truststore}\n\
             listener.name.mutual.ssl.client.auth=required\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
             listener.name.secured.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_ann=\"{PASSWORD}\";\n\
             listener.name.secured.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
             listener.name.secured.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
             listener.name.secured.oauthbearer.sasl.jaas.config={login}.oauthbearer.OAuthBearerLoginModule required \
             unsecuredLoginStringClaim_sub=\"broker\";\n",
            keystore = path("broker.pem").display(),
            truststore = path("ca.crt").display(),
        );
        let scram = |mechanism: &str| format!("{mechanism}=[name=ann,password={PASSWORD}]");
        let add = |mechanism: &str| ["--add-scram".to_owned(), scram(mechanism)];
        let format = [add("SCRAM-SHA-256"), add("SCRAM-SHA-512")].concat();
        let cluster = Cluster::start_with(ports, &More { properties, format });
        Self { cluster, directory, sasl, mutual }
    }

    /// A topic, and settings that read it through the port with these properties.
    fn fixture(&self, port: u16, properties: &str) -> Fixture {
        let mut fixture = Fixture::new(&self.cluster.bootstrap_servers(), LONG_WINDOWS);
        let topic = fixture.topic().to_owned();
        let text = self.configuration(port, properties, fixture.directory.path());
        let mut settings: Settings = settings::parse("test.toml", &text, self.directory.path(), [], &[]).unwrap();
        settings.kafka.group_id = topic.clone();
        settings.kafka.topics = vec![topic];
        fixture.settings = settings;
        fixture
    }

    fn configuration(&self, port: u16, properties: &str, directory: &Path) -> String {
        let properties = format!("[kafka.librdkafka]\n\"ssl.ca.location\" = \"{}\"\n{properties}", self.path("ca.crt"));
        configuration(&format!("127.0.0.1:{port}"), directory, LONG_WINDOWS).replace("[kafka.librdkafka]", &properties)
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Events are written, read and counted, under a session of the group.
    fn reads(&self, port: u16, properties: &str) {
        let fixture = self.fixture(port, properties);
        let all = events(7, 300);
        fixture.produce(&all);
        let running = fixture.start();
        running.await_page(&replayed(&fixture.settings.definitions(), &all));
        assert_eq!(running.stop().records, 300, "{properties}");
    }

    /// What is said of a topic.
    fn told(&self, port: u16, properties: &str) -> String {
        let mut said = Vec::new();
        validate::check_topics(&self.fixture(port, properties).settings.kafka, PATIENCE, &mut said).unwrap();
        String::from_utf8(said).unwrap()
    }

    /// What the broker is said to answer.
    fn refuses(&self, port: u16, properties: &str) -> String {
        let fixture = self.fixture(port, properties);
        let error = validate::check_topics(&fixture.settings.kafka, PATIENCE / 10, &mut Vec::new()).unwrap_err();
        format!("{error:#}")
    }
}

fn sasl(mechanism: &str, more: &str) -> String {
    format!("\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanisms\" = \"{mechanism}\"\n{more}\n")
}

fn password(password: &str) -> String {
    format!("\"sasl.username\" = \"ann\"\n\"sasl.password\" = \"{password}\"")
}

/// An identity provider that gives a token, unsigned as the broker takes it, to who has the client's secret.
fn identity_provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let now_s = churnwatch::run::wall_clock().as_millis() / 1_000;
    let encoded = |json: String| URL_SAFE_NO_PAD.encode(json);
    let claims = format!(r#"{{"sub":"ann","iat":{now_s},"exp":{},"scope":"kafka"}}"#, now_s + 3_600);
    let token = format!("{}.{}.", encoded(r#"{"alg":"none"}"#.to_owned()), encoded(claims));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            // To the end of its body: a connection closed before would be reset.
            while !request.ends_with(b"grant_type=client_credentials") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            // The client's name and secret, as curl writes them.
            let known = String::from_utf8_lossy(&request).contains("Basic Y2h1cm53YXRjaDpjb3JyZWN0LWhvcnNl");
            let (status, body) = match known {
                true => ("200 OK", format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":3600}}"#)),
                false => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

fn oidc(endpoint: &str, secret: &str) -> String {
    let more = format!(
        "\"sasl.oauthbearer.method\" = \"oidc\"\n\"sasl.oauthbearer.client.id\" = \"churnwatch\"\n\
         \"sasl.oauthbearer.client.secret\" = \"{secret}\"\n\"sasl.oauthbearer.token.endpoint.url\" = \"{endpoint}\""
    );
    sasl("OAUTHBEARER", &more)
}

#[test]
fn every_kind_of_authentication_reads_and_a_wrong_one_says_why() {
    if !apache_kafka::available("every_kind_of_authentication_reads_and_a_wrong_one_says_why") {
        return;
    }
    let secured = Secured::start();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        secured.reads(secured.sasl, &sasl(mechanism, &password(PASSWORD)));
    }
    let unsecured = "\"enable.sasl.oauthbearer.unsecure.jwt\" = true\n\"sasl.oauthbearer.config\" = \"principal=ann\"";
    secured.reads(secured.sasl, &sasl("OAUTHBEARER", unsecured));
    let mutual = |name: &str| {
        let (certificate, key) = (secured.path(&format!("{name}.crt")), secured.path(&format!("{name}.key")));
        format!(
            "\"security.protocol\" = \"SSL\"\n\"ssl.certificate.location\" = \"{certificate}\"\n\"ssl.key.location\" = \"{key}\""
        )
    };
    secured.reads(secured.mutual, &mutual("client"));

    let wrong = |port, properties: &str, words: &str| {
        let said = secured.refuses(port, properties);
        assert!(said.contains(words) && !said.contains("battery"), "{words} in {said}");
    };
    wrong(secured.sasl, &sasl("SCRAM-SHA-512", &password("battery")), "uthentication failed");
    wrong(secured.sasl, &sasl("PLAIN", &password("battery")), "uthentication failed");
    wrong(secured.mutual, &mutual("stranger"), "no answer from");
    wrong(secured.mutual, "\"security.protocol\" = \"SSL\"", "no answer from");
    wrong(secured.sasl, "\"security.protocol\" = \"PLAINTEXT\"", "no answer from");
}

#[test]
fn a_token_of_an_identity_provider_reads() {
    let test = "a_token_of_an_identity_provider_reads";
    if !apache_kafka::available(test) {
        return;
    }
    let endpoint = identity_provider();
    let text = format!("[kafka]\ntopics = [\"t\"]\n[kafka.librdkafka]\n{}", oidc(&endpoint, PASSWORD));
    if settings::parse("", &text, Path::new(""), [], &[])
        .is_err_and(|e| e.to_string().contains("not supported in this build"))
    {
        return crate::support::not_run(
            test,
            "built without libcurl (Debian: apt install libcurl4-openssl-dev; cargo clean -p rdkafka-sys)",
        );
    }
    let secured = Secured::start();
    secured.reads(secured.sasl, &oidc(&endpoint, PASSWORD));
    let said = secured.told(secured.sasl, &oidc(&endpoint, PASSWORD));
    assert!(said.contains(": 4 partitions, records kept for ever\n"), "{said}");
    let said = secured.refuses(secured.sasl, &oidc(&endpoint, "battery"));
    assert!(said.contains("no answer from") && !said.contains("battery"), "{said}");
}

#[test]
fn the_binary_reads_by_a_password_from_a_file() {
    if !apache_kafka::available("the_binary_reads_by_a_password_from_a_file") {
        return;
    }
    let secured = Secured::start();
    let fixture = secured.fixture(secured.sasl, &sasl("SCRAM-SHA-512", &password(PASSWORD)));
    fs::write(secured.path("password"), format!("{PASSWORD}\n")).unwrap();
    let from_file = "\"sasl.username\" = \"ann\"\n\"sasl.password\" = { file = \"password\" }";
    let text = secured.configuration(secured.sasl, &sasl("SCRAM-SHA-512", from_file), fixture.directory.path());
    let config = secured.path("churnwatch.toml");
    fs::write(
        &config,
        text.replace("topics = [\"customer-lifecycle\"]", &format!("topics = [\"{}\"]", fixture.topic())),
    )
    .unwrap();
    let checked = churnwatch().args(["validate", "--check-connectivity", "--config", &config]).output().unwrap();
    let said = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(checked.status.success() && said.contains(": 4 partitions, records kept for ever\n"), "{said}");
    assert!(said.contains("sasl.password=<redacted>") && !said.contains(PASSWORD), "{said}");
}
