use super::*;

const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

fn read(text: &str) -> Result<WebConfig, String> {
    parse_web_config("web.yml", text, Path::new("/etc/churnwatch")).map_err(|error| {
        assert_eq!(error.report(false), format!("{error}\n"), "no line of the file is shown");
        error.to_string()
    })
}

#[test]
fn an_empty_file_opens_the_door() {
    for text in ["", "# nothing\n", "{}", "tls_server_config:\nbasic_auth_users: {}\n"] {
        assert_eq!(read(text).unwrap(), WebConfig::default(), "{text}");
    }
}

#[test]
fn everything_is_read() {
    let text = format!(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: /run/server.key\n  client_auth_type: RequireAndVerifyClientCert\n  \
         client_ca_file: ca.crt\n  client_allowed_sans: [prometheus, 10.0.0.1]\n  min_version: TLS13\n  \
         cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  curve_preferences: [X25519]\n  \
         prefer_server_cipher_suites: false\n\
         http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    \
         Strict-Transport-Security: max-age=31536000\n\
         basic_auth_users:\n  alice: {HASH}\nrate_limit:\n  interval: 500ms\n  burst: 20\n"
    );
    let config = read(&text).unwrap();
    let tls = config.tls.unwrap();
    assert_eq!(tls.certificate, Pem::File("/etc/churnwatch/server.crt".into()));
    assert_eq!(tls.key, Pem::File("/run/server.key".into()));
    assert_eq!(tls.client_ca, Some(Pem::File("/etc/churnwatch/ca.crt".into())));
    assert_eq!((tls.client_auth, tls.client_allowed_sans.len()), (ClientAuth::RequireAndVerify, 2));
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::Tls13, TlsVersion::Tls13));
    assert_eq!(tls.cipher_suites.unwrap(), ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    assert_eq!((tls.curve_preferences.unwrap(), tls.prefer_server_cipher_suites), (vec!["X25519"], false));
    assert_eq!(
        config.headers,
        [("Strict-Transport-Security", "max-age=31536000".to_owned()), ("X-Frame-Options", "deny".to_owned())]
    );
    assert_eq!(config.users["alice"].as_str(), HASH);
    assert_eq!(config.rate_limit, Some(RateLimit { interval: Duration::from_millis(500), burst: 20 }));
}

#[test]
fn wrong_values_are_named_with_their_lines() {
    let tls = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
    for (text, expected) in [
        (
            "tls_serverconfig: {}",
            "web.yml:1:1: unknown key `tls_serverconfig` in the web configuration; did you mean `tls_server_config`?",
        ),
        (
            &format!("{tls}  client_auth: NoClientCert"),
            "web.yml:4:3: unknown key `client_auth` in tls_server_config; did you mean `client_auth_type`?",
        ),
        (
            &format!("{tls}  client_auth_type: RequireAndVerify"),
            "web.yml:4:21: `client_auth_type` is \"RequireAndVerify\"; did you mean \"RequireAndVerifyClientCert\"?",
        ),
        (
            &format!("{tls}  min_version: TLS11"),
            "web.yml:4:16: `min_version`: TLS 1.0 and 1.1 are broken, and not offered",
        ),
        (
            &format!("{tls}  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"),
            "web.yml:4:19: `cipher_suites`: TLS_RSA_WITH_AES_128_CBC_SHA is not offered",
        ),
        (
            &format!("{tls}  curve_preferences: [CurveP521]"),
            "web.yml:4:23: `curve_preferences`: CurveP521 is not offered",
        ),
        (&format!("{tls}  min_version: TLS13\n  max_version: TLS12"), "min_version is above max_version"),
        (&format!("{tls}  cert: x"), "both `cert` and `cert_file` are given"),
        (&format!("{tls}  client_ca_file: c"), "client_ca_file without client_auth_type"),
        (&format!("{tls}  client_auth_type: RequireAndVerifyClientCert"), "verified without client_ca_file"),
        (
            &format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [a@b.c]"),
            "is an e-mail address",
        ),
        ("tls_server_config:\n  min_version: TLS13\n", "web.yml:2:3: tls_server_config has no `cert_file`"),
        ("http_server_config:\n  headers:\n    Server: x\n", "web.yml:3:5: unknown key `Server` in headers"),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: no\n",
            "web.yml:3:22: the header X-Frame-Options is \"no\"; write deny or sameorigin",
        ),
        ("http_server_config:\n  http2: maybe\n", "`http2` is \"maybe\"; write true or false"),
        ("basic_auth_users:\n  alice: hunter2\n", "web.yml:2:10: the password of \"alice\" is no bcrypt hash"),
        ("basic_auth_users:\n  alice:\n", "`basic_auth_users` is empty"),
        (
            &format!("basic_auth_users:\n  alice: {}\n", HASH.replace("$10$", "$20$")),
            "has a cost of 20, and 12 is the most",
        ),
        (&format!("basic_auth_users:\n  'a:b': {HASH}\n"), "has a colon in the name"),
        ("rate_limit:\n  interval: 1s\n", "with a burst of 0 no request is allowed"),
        ("rate_limit:\n  interval: often\n", "web.yml:2:13: "),
        ("- a\n", "`the web configuration` is a list"),
        ("a: [\n", "not YAML"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{expected}\nin {error}\nfor {text}");
        assert!(!error.contains("hunter2") && !error.contains("X0h1gDsPszWURQ"), "{error}");
    }
}

#[test]
fn allowed_names_need_a_certificate_that_is_required_and_verified() {
    let tls = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
    let with = |auth: &str, ca: &str| {
        read(&format!("{tls}  client_auth_type: {auth}\n{ca}  client_allowed_sans: [prometheus.example]\n"))
    };
    let ca = "  client_ca_file: c\n";
    for auth in ["RequestClientCert", "RequireAnyClientCert", "RequireClientCert", "VerifyClientCertIfGiven"] {
        let error = with(auth, ca).unwrap_err();
        assert!(error.contains("client_allowed_sans, while a client needs no certificate"), "{auth}: {error}");
    }
    assert!(with("NoClientCert", "").unwrap_err().contains("client_allowed_sans"));
    assert!(with("RequireAndVerifyClientCert", ca).is_ok());
}

#[test]
fn a_hash_may_cost_what_is_documented() {
    let of = |cost: u32| read(&format!("basic_auth_users:\n  ann: {}\n", HASH.replace("$10$", &format!("${cost}$"))));
    assert!(of(12).is_ok() && of(13).unwrap_err().contains("a cost of 13"));
}

#[test]
fn all_problems_are_named_at_once() {
    let error = read("tls: 1\nbasic_auth_users:\n  alice: x\nrate_limit:\n  interval: 1s\n").unwrap_err();
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn nothing_secret_is_printed() {
    let text = format!("tls_server_config:\n  cert: CERT\n  key: PRIVATE\nbasic_auth_users:\n  alice: {HASH}\n");
    let printed = format!("{:?}", read(&text).unwrap());
    assert!(!printed.contains("PRIVATE") && !printed.contains(HASH) && printed.contains("alice"), "{printed}");
}
