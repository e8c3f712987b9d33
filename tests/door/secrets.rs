//! Secrets are set wherever they can be, and looked for in everything that the process says.

use std::fs;
use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kafka::fixture::{TOPIC, configuration};
use crate::support::certificates::Authority;
use crate::support::process::{Run, churnwatch};
use crate::support::until;

/// Each begins with the same word, which is nowhere else.
const SECRETS: [(&str, &str); 5] = [
    ("sasl.password", "xyzzy-password"),
    ("ssl.key.password", "xyzzy-passphrase"),
    ("sasl.oauthbearer.client.secret", "xyzzy-client"),
    ("ssl.keystore.password", "xyzzy-keystore"),
    ("sasl.oauthbearer.config", "principal=xyzzy-token"),
];

/// Object stores that are not there, with credentials that are well formed.
const STORES: [(&str, &[(&str, &str)]); 6] = [
    (
        "s3://bucket/prefix",
        &[
            ("AWS_ACCESS_KEY_ID", "an-id"),
            ("AWS_SECRET_ACCESS_KEY", "xyzzy-key"),
            ("AWS_SESSION_TOKEN", "xyzzy-token"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_ALLOW_HTTP", "true"),
        ],
    ),
    (
        "az://container/key",
        &[
            ("AZURE_STORAGE_ACCOUNT_NAME", "ann"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "xyzzyxyzzyxyzzyxyzzy"),
            ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1"),
            ("AZURE_ALLOW_HTTP", "true"),
        ],
    ),
    (
        "az://container/signature",
        &[
            ("AZURE_STORAGE_ACCOUNT_NAME", "ann"),
            ("AZURE_STORAGE_SAS_TOKEN", "sv=2024-11-04&sig=xyzzy"),
            ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1"),
            ("AZURE_ALLOW_HTTP", "true"),
        ],
    ),
    (
        "s3://bucket/endpoint",
        &[
            ("AWS_ACCESS_KEY_ID", "an-id"),
            ("AWS_SECRET_ACCESS_KEY", "xyzzy-key"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", "http://ann:xyzzy@127.0.0.1:1"),
        ],
    ),
    (
        "s3://bucket/proxy",
        &[
            ("AWS_ACCESS_KEY_ID", "an-id"),
            ("AWS_SECRET_ACCESS_KEY", "xyzzy-key"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_PROXY_URL", "http://ann:xyzzy@127.0.0.1:1"),
        ],
    ),
    (
        "s3://bucket/proxy-of-all",
        &[
            ("AWS_ACCESS_KEY_ID", "an-id"),
            ("AWS_SECRET_ACCESS_KEY", "xyzzy-key"),
            ("AWS_REGION", "eu-central-1"),
            ("HTTPS_PROXY", "http://ann:xyzzy@127.0.0.1:1"),
        ],
    ),
];

/// The same, of which no request can be made.
const WRONG_CREDENTIALS: [(&str, &str, &str); 5] = [
    ("s3://bucket/prefix", "AWS_SECRET_ACCESS_KEY", "xyzzy\n"),
    ("az://container/prefix", "AZURE_STORAGE_ACCOUNT_KEY", "xyzzy!"),
    ("az://container/prefix", "AZURE_STORAGE_SAS_TOKEN", "xyzzy"),
    ("gs://bucket/prefix", "GOOGLE_SERVICE_ACCOUNT_KEY", "xyzzy"),
    (
        "gs://bucket/prefix",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        r#"{"private_key":"xyzzy","private_key_id":"1","client_email":"ann","disable_oauth":false}"#,
    ),
];

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A configuration with all of them, for brokers that are not there, whose client says all that it can.
fn config(directory: &Path, more: &str) -> String {
    let properties: String = SECRETS.iter().map(|(name, secret)| format!("\"{name}\" = \"{secret}\"\n")).collect();
    let properties = format!(
        "[kafka.librdkafka]\n\"security.protocol\" = \"SASL_PLAINTEXT\"\n\"sasl.mechanisms\" = \"SCRAM-SHA-256\"\n\
         \"sasl.username\" = \"ann\"\ndebug = \"all\"\n{properties}"
    );
    configuration("127.0.0.1:1", directory, more).replace("[kafka.librdkafka]", &properties)
}

#[track_caller]
fn is_silent(what: &str, said: &str) {
    let said_lower = said.to_lowercase();
    let at = ["xyzzy", "private key", "$2b$", "-----begin"].into_iter().find_map(|secret| said_lower.find(secret));
    if let Some(at) = at {
        let from = said.floor_char_boundary(at.saturating_sub(300));
        panic!("{what} says a secret: …{}", &said[from..said.floor_char_boundary(at + 100)]);
    }
}

fn said(output: Output) -> String {
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[test]
fn no_command_says_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let good = write(directory, "good.toml", &config(directory, ""));
    let secret_file = write(directory, "secret", "xyzzy-in-a-file\n");
    let from_file = format!("[kafka.librdkafka]\n\"client.id\" = {{ file = \"{secret_file}\" }}\n");
    let from_file = write(directory, "file.toml", &from_file);
    for arguments in [&["validate"][..], &["validate", "-vv"], &["config"], &["config", "-vv", "--log-format", "json"]]
    {
        for config in [&good, &from_file] {
            let output = churnwatch().args(arguments).args(["--config", config]).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", said(output));
            is_silent(&format!("{arguments:?}"), &said(output));
        }
        let output = churnwatch().args(arguments).env("CHURNWATCH__KAFKA__LIBRDKAFKA__SASL_PASSWORD", "xyzzy").output();
        let said = said(output.unwrap());
        assert!(said.contains("<redacted>"), "{said}");
        is_silent(&format!("{arguments:?} by a variable"), &said);
    }
    let check = churnwatch().args(["validate", "-vv", "--check-connectivity", "--config", &good]).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
    is_silent("validate --check-connectivity", &said(check));
}

#[test]
fn no_error_says_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for wrong in [
        "[snapshot]\nstore = \"s3://ann:xyzzy@bucket/prefix\"\n",
        "[snapshot]\nstore = \"s3://ann:xyzzy/with/slashes@bucket\"\n",
        "[snapshot]\nstore = \"https://bucket?sig=xyzzy\"\n",
        "[snapshot]\nstore = \"http://[xyzzy@\"\n",
        "[kafka]\nlibrdkafka.'sasl.password' = 'xyzzy\n",
        "[kafka]\nlibrdkafka.'sasl.password' = ['xyzzy']\n",
        "[kafka.librdkafka]\n'sasl.pasword' = 1\n'sasl.password' = \"xyzzy\"\n'ssl.key.pem' = '''\nxyzzy\n'''\n",
    ] {
        let config = write(directory, "wrong.toml", wrong);
        let output = churnwatch().args(["validate", "-vv", "--config", &config]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        is_silent(wrong, &said(output));
    }
    for wrong in [
        "basic_auth_users:\n  ann: xyzzy\n",
        "basic_auth_users:\n  ann: [xyzzy]\n",
        "basic_auth_users: xyzzy\n",
        "basic_auth_users:\n  ann: 'xyzzy\n",
        "tls_server_config:\n  cert: xyzzy\n  key: xyzzy\n",
        "tls_server_config:\n  cert_file: c\n  key: |\n    xyzzy\n   x: y\n",
        "basic_auth_users:\n  ann: $2b$10$xyzzyxyzzyxyzzy\n",
    ] {
        write(directory, "web.yml", wrong);
        let config = write(directory, "door.toml", "[http]\nweb_config_file = 'web.yml'\n");
        let output = churnwatch().args(["validate", "-vv", "--config", &config]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        is_silent(wrong, &said(output));
    }
}

#[test]
fn neither_the_log_nor_a_page_says_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let hash = bcrypt::hash("xyzzy", 4).unwrap();
    Authority::new("a CA").issue(directory, "server", &["localhost"]);
    let key = fs::read_to_string(directory.join("server.key")).unwrap().replace('\n', "\n    ");
    let users = format!("basic_auth_users:\n  ann: {hash}\n");
    write(directory, "web.yml", &users);
    let text = config(directory, "").replace("[http]", "[http]\nweb_config_file = \"web.yml\"");
    let config = write(directory, "churnwatch.toml", &text);
    let run = Run::start_with(&std::path::PathBuf::from(&config), &[("RUST_LOG", "trace")]);
    let get = |path: &str, user: &str| {
        let request = ureq::get(run.url.replace("/metrics", path)).config().http_status_as_error(false).build();
        let request = request.header("Authorization", format!("Basic {}", STANDARD.encode(user)));
        request.call().unwrap().body_mut().read_to_string().unwrap()
    };
    for path in ["/", "/metrics", "/-/ready", "/-/healthy", "/nowhere"] {
        for user in ["ann:xyzzy", "ann:xyzzy-wrong"] {
            is_silent(path, &get(path, user));
        }
    }
    assert!(get("/metrics", "ann:xyzzy").contains("churnwatch_build_info{"), "it was let in");
    // Broken, and then with a key of its own.
    write(directory, "web.yml", &format!("{users}tls_server_config:\n  cert: xyzzy\n  key: |\n    {key}\n"));
    until("the log says that it is broken", || run.said().contains("the changed web configuration is not used"));
    until("the client has said much", || run.said().lines().count() > 100);
    let environment = fs::read_to_string(format!("/proc/{}/cmdline", run.id())).unwrap();
    is_silent("the command line", &environment);
    is_silent("the log", &run.said());
    run.kill();
}

/// Both where the store does not answer and where its credentials are wrong.
#[test]
fn the_credentials_of_an_object_store_are_never_said() {
    let broker = churnwatch::embedded::Broker::start().unwrap();
    broker.create_topic(TOPIC, 1).unwrap();
    let brokers = broker.bootstrap_servers().unwrap();
    let check = |config: &str, environment: &[(&str, &str)]| {
        let mut check = churnwatch();
        check.args(["validate", "-vv", "--check-connectivity", "--config", config]).envs(environment.iter().copied());
        let output = check.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{environment:?}");
        said(output)
    };
    let case = &|store: &str, environment: &[(&str, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        let config = store_config(&brokers, directory.path(), store);
        let said = check(&config, environment);
        assert!(said.contains("the snapshot store does not serve"), "{said}");
        is_silent(store, &said);
        for command in ["validate", "config"] {
            let output = churnwatch().args([command, "-vv", "-c", &config]).envs(environment.iter().copied()).output();
            is_silent(command, &self::said(output.unwrap()));
        }

        let trace = [environment, &[("RUST_LOG", "trace")]].concat();
        let run = Run::start_with(Path::new(&config), &trace);
        until("the store does not answer", || run.said().contains("Retrying until the store serves it"));
        is_silent("the page", &run.metrics().unwrap());
        is_silent("the command line", &fs::read_to_string(format!("/proc/{}/cmdline", run.id())).unwrap());
        is_silent("the log", &run.said());
        run.kill();
    };
    let wrong = &|store: &str, name: &str, secret: &str| {
        let directory = tempfile::tempdir().unwrap();
        let environment =
            [("AZURE_STORAGE_ACCOUNT_NAME", "ann"), ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1"), (name, secret)];
        is_silent(name, &check(&store_config(&brokers, directory.path(), store), &environment));
    };
    // Each waits until a store that is not there has been asked often enough.
    std::thread::scope(|at_once| {
        for (store, environment) in STORES {
            at_once.spawn(move || case(store, environment));
        }
        for (store, name, secret) in WRONG_CREDENTIALS {
            at_once.spawn(move || wrong(store, name, secret));
        }
    });
}

fn store_config(brokers: &str, directory: &Path, store: &str) -> String {
    let text = configuration(brokers, directory, "");
    let (before, after) = text.split_once("store = ").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    write(directory, "churnwatch.toml", &format!("{before}store = \"{store}\"\n{after}"))
}
