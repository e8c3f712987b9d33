//! `http.web_config_file`: TLS, client certificates, passwords, headers and a rate limit, in the YAML schema that
//! Prometheus's own exporters share. What a file says by itself is checked here; what it names, where it is used.

mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ConfigError;
use super::layers::{Entry, Layers, Node, Value};
use super::problem::{Problem, nearest};
use super::read::{At, Reader};
use crate::time::Span;

/// What a web configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebConfig {
    /// `tls_server_config`; without it, plain HTTP is spoken.
    pub tls: Option<Tls>,
    /// `http_server_config.headers`, for every response.
    pub headers: Vec<(&'static str, String)>,
    /// `basic_auth_users`; without any, everybody may come in.
    pub users: BTreeMap<String, PasswordHash>,
    pub rate_limit: Option<RateLimit>,
}

/// `tls_server_config`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: Pem,
    pub key: Pem,
    pub client_auth: ClientAuth,
    pub client_ca: Option<Pem>,
    /// Of which a client's certificate has one; any certificate will do where it is empty.
    pub client_allowed_sans: Vec<String>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// Of TLS 1.2; those of TLS 1.3 are always offered. `None`: all there are.
    pub cipher_suites: Option<Vec<&'static str>>,
    /// In order of preference. `None`: the usual ones.
    pub curve_preferences: Option<Vec<&'static str>>,
    pub prefer_server_cipher_suites: bool,
}

/// A certificate or a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    File(PathBuf),
    Inline(String),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("<redacted>"),
        }
    }
}

/// `client_auth_type`: what a client has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientAuth {
    /// `NoClientCert`
    None,
    /// `RequestClientCert`: asked for, and not looked at.
    Request,
    /// `VerifyClientCertIfGiven`
    VerifyIfGiven,
    /// `RequireAnyClientCert`: whoever signed it.
    RequireAny,
    /// `RequireAndVerifyClientCert`
    RequireAndVerify,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// A password's bcrypt hash; it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// As bcrypt writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// `rate_limit`: so many requests at once, and one more each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub interval: Duration,
    pub burst: usize,
}

const TOP: [&str; 4] = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];
const TLS: [&str; 13] = [
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];
const CLIENT_AUTH: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];
/// Those of TLS 1.2 first; the three of TLS 1.3 may be listed, and are offered in any case.
const CIPHER_SUITES: [&str; 9] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
const CURVES: [&str; 3] = ["X25519", "CurveP256", "CurveP384"];
/// A header, and the values it may have where not any will do.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];
/// About a quarter of a second. Checks are made one at a time: what costs more keeps others waiting.
const MAX_COST: u32 = 12;

/// Reads a web configuration; relative paths in it start at `directory`.
pub fn parse_web_config(name: &str, text: &str, directory: &Path) -> Result<WebConfig, ConfigError> {
    let r = &mut Reader { layers: Layers::default() };
    let read = match yaml::parse(text) {
        Ok(document) => config(r, document, directory),
        Err(problem) => {
            r.problem(problem);
            None
        }
    };
    match read {
        Some(config) if r.layers.problems.is_empty() => Ok(config),
        _ => Err(ConfigError::without_lines(name, text, std::mem::take(&mut r.layers.problems))),
    }
}

fn config(r: &mut Reader, document: Option<Node>, directory: &Path) -> Option<WebConfig> {
    let mut top = match document {
        None => Keys::default(),
        Some(node) => Keys::of(r, "the web configuration", node, &TOP)?,
    };
    // Every section is read before any is found wanting: all problems are named at once.
    let tls = top.take("tls_server_config").map(|node| tls(r, node, directory));
    let headers = top.take("http_server_config").map(|node| http(r, node));
    let users = top.take("basic_auth_users").map(|node| users(r, node));
    let rate_limit = top.take("rate_limit").map(|node| rate_limit(r, node));
    Some(WebConfig {
        tls: tls.unwrap_or(Some(None))?,
        headers: headers.unwrap_or_else(|| Some(Vec::new()))?,
        users: users.unwrap_or_else(|| Some(BTreeMap::new()))?,
        rate_limit: rate_limit.unwrap_or(Some(None))?,
    })
}

/// The keys of a mapping that are still to be read.
#[derive(Default)]
struct Keys(Vec<Entry>);

impl Keys {
    /// Notes those that `known` does not have.
    fn of(r: &mut Reader, name: &str, node: Node, known: &[&str]) -> Option<Self> {
        let Value::Table(entries) = node.value else {
            return r.wrong(&node.origin, format!("`{name}` is {}", node.value.kind()), "write keys and values");
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let problem = Problem::new(&entry.key_origin, format!("unknown key `{}` in {name}", entry.key));
            r.problem(problem.remedy(match nearest(&entry.key, known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the keys are {}", known.join(", ")),
            }));
        }
        Some(Self(entries))
    }

    /// The value, where there is one; nothing between quotation marks is none.
    fn take(&mut self, key: &str) -> Option<Node> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        let node = self.0.swap_remove(at).node;
        (!matches!(&node.value, Value::Text(text) if text.trim().is_empty())).then_some(node)
    }

    /// What the key says: the outer `None` is a problem, the inner one absence.
    fn read<T>(
        &mut self,
        r: &mut Reader,
        key: &str,
        as_type: impl FnOnce(&mut Reader, &str, &Node) -> Option<T>,
    ) -> Option<Option<T>> {
        self.take(key).map_or(Some(None), |node| as_type(r, key, &node).map(Some))
    }

    /// A certificate or key, inline or in a file.
    fn pem(&mut self, r: &mut Reader, inline: &str, in_file: &str, directory: &Path) -> Option<Option<Pem>> {
        let (text, file) = (self.take(inline), self.take(in_file));
        match (text, file) {
            (Some(_), Some(file)) => {
                r.wrong(&file.origin, format!("both `{inline}` and `{in_file}` are given"), "remove one")
            }
            (Some(text), None) => r.text(inline, &text).map(|text| Some(Pem::Inline(text))),
            (None, Some(file)) => r.text(in_file, &file).map(|path| Some(Pem::File(directory.join(path)))),
            (None, None) => Some(None),
        }
    }
}

fn tls(r: &mut Reader, node: Node, directory: &Path) -> Option<Option<Tls>> {
    let origin = node.origin.clone();
    let mut keys = Keys::of(r, "tls_server_config", node, &TLS)?;
    if keys.0.is_empty() {
        return Some(None);
    }
    let certificate = keys.pem(r, "cert", "cert_file", directory);
    let key = keys.pem(r, "key", "key_file", directory);
    let client_ca = keys.pem(r, "client_ca", "client_ca_file", directory);
    let client_auth = keys.read(r, "client_auth_type", |r, name, node| r.choice(name, node, &CLIENT_AUTH));
    let sans = keys.read(r, "client_allowed_sans", |r, name, node| r.list(name, node, allowed_san));
    let min_version = keys.read(r, "min_version", version);
    let max_version = keys.read(r, "max_version", version);
    let cipher_suites = keys.read(r, "cipher_suites", |r, name, node| {
        r.list(name, node, |r, name, node| one_of(r, name, node, &CIPHER_SUITES))
    });
    let curves = keys.read(r, "curve_preferences", |r, name, node| {
        r.list(name, node, |r, name, node| one_of(r, name, node, &CURVES))
    });
    let prefer_server = keys.read(r, "prefer_server_cipher_suites", truth);

    let mut needed = |what: Option<Option<Pem>>, key: &str| {
        what?.or_else(|| r.wrong(&origin, format!("tls_server_config has no `{key}`"), "name a PEM file"))
    };
    let (certificate, key) = (needed(certificate, "cert_file"), needed(key, "key_file"));
    let tls = Tls {
        certificate: certificate?,
        key: key?,
        client_auth: client_auth?.unwrap_or(ClientAuth::None),
        client_ca: client_ca?,
        client_allowed_sans: values(sans?.unwrap_or_default()),
        min_version: min_version?.unwrap_or(TlsVersion::Tls12),
        max_version: max_version?.unwrap_or(TlsVersion::Tls13),
        cipher_suites: cipher_suites?.map(values),
        curve_preferences: curves?.map(values),
        prefer_server_cipher_suites: prefer_server?.unwrap_or(true),
    };
    let verifies = matches!(tls.client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    let contradiction = match (&tls.client_ca, tls.client_auth) {
        (Some(_), ClientAuth::None) => Some(("client_ca_file without client_auth_type", "RequireAndVerifyClientCert")),
        (None, _) if verifies => {
            Some(("client certificates are to be verified without client_ca_file", "the CA's file"))
        }
        (_, auth) if auth != ClientAuth::RequireAndVerify && !tls.client_allowed_sans.is_empty() => Some((
            "client_allowed_sans, while a client needs no certificate or may have made its own",
            "client_auth_type: RequireAndVerifyClientCert",
        )),
        _ if tls.min_version > tls.max_version => Some(("min_version is above max_version", "TLS12 and TLS13")),
        _ => None,
    };
    match contradiction {
        Some((what, remedy)) => r.wrong(&origin, format!("tls_server_config: {what}"), format!("write {remedy}")),
        None => Some(Some(tls)),
    }
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

fn one_of<const N: usize>(r: &mut Reader, name: &str, node: &Node, known: &[&'static str; N]) -> Option<&'static str> {
    let text = r.text(name, node)?;
    let found = known.iter().copied().find(|known| *known == text);
    let remedy = || format!("those offered are {}", known.join(", "));
    found.or_else(|| r.wrong(&node.origin, format!("`{name}`: {text} is not offered"), remedy()))
}

fn version(r: &mut Reader, name: &str, node: &Node) -> Option<TlsVersion> {
    match r.text(name, node)?.as_str() {
        "TLS12" => Some(TlsVersion::Tls12),
        "TLS13" => Some(TlsVersion::Tls13),
        "TLS10" | "TLS11" => r.wrong(
            &node.origin,
            format!("`{name}`: TLS 1.0 and 1.1 are broken, and not offered"),
            "write TLS12 or TLS13",
        ),
        other => r.wrong(&node.origin, format!("`{name}` is {other:?}"), "write TLS12 or TLS13"),
    }
}

fn allowed_san(r: &mut Reader, name: &str, node: &Node) -> Option<String> {
    let text = r.text(name, node)?;
    if text.contains('@') && !text.contains("://") {
        let message = format!("`{name}`: {text:?} is an e-mail address, and those are not compared");
        return r.wrong(&node.origin, message, "write a DNS name, an IP address or a URI of the certificates");
    }
    Some(text)
}

fn truth(r: &mut Reader, name: &str, node: &Node) -> Option<bool> {
    match r.text(name, node)?.to_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        other => r.wrong(&node.origin, format!("`{name}` is {other:?}"), "write true or false"),
    }
}

fn http(r: &mut Reader, node: Node) -> Option<Vec<(&'static str, String)>> {
    let mut keys = Keys::of(r, "http_server_config", node, &["http2", "headers"])?;
    // HTTP/1.1 is what is spoken, whether or not the other may be.
    let http2 = keys.read(r, "http2", truth);
    let headers = match keys.take("headers") {
        None => Some(Vec::new()),
        Some(node) => Keys::of(r, "headers", node, &HEADERS.map(|(name, _)| name)).map(|keys| headers(r, keys)),
    };
    http2?;
    headers
}

fn headers(r: &mut Reader, mut keys: Keys) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    for (header, allowed) in HEADERS {
        let Some(node) = keys.take(header) else { continue };
        match r.text(header, &node) {
            Some(value) if allowed.is_empty() || allowed.contains(&value.as_str()) => headers.push((header, value)),
            Some(value) => {
                let problem = Problem::new(&node.origin, format!("the header {header} is {value:?}"));
                r.problem(problem.remedy(format!("write {}", allowed.join(" or "))));
            }
            None => {}
        }
    }
    headers
}

fn users(r: &mut Reader, node: Node) -> Option<BTreeMap<String, PasswordHash>> {
    let Value::Table(entries) = node.value else {
        return r.wrong(&node.origin, "`basic_auth_users` is no mapping", "write `name: bcrypt hash`, a line each");
    };
    let mut users = BTreeMap::new();
    for entry in entries {
        let Some(hash) = r.text("basic_auth_users", &entry.node) else { continue };
        let remedy = "make one with: htpasswd -nBC 10 \"\" | tr -d ':\\n'";
        // A user's name is no secret, the hash is one: it is not repeated.
        match hash.parse::<bcrypt::HashParts>().map(|parts| parts.get_cost()) {
            Err(_) => {
                let message = format!("the password of {:?} is no bcrypt hash", entry.key);
                r.problem(Problem::new(&entry.node.origin, message).remedy(remedy));
            }
            Ok(cost) if cost > MAX_COST => {
                let message =
                    format!("the bcrypt hash of {:?} has a cost of {cost}, and {MAX_COST} is the most", entry.key);
                r.problem(Problem::new(&entry.node.origin, message).remedy(remedy));
            }
            Ok(_) if entry.key.contains(':') => {
                let message = format!("the user {:?} has a colon in the name", entry.key);
                r.problem(Problem::new(&entry.key_origin, message).remedy("HTTP cannot say that: take another name"));
            }
            Ok(_) => {
                users.insert(entry.key, PasswordHash(hash));
            }
        }
    }
    Some(users)
}

fn rate_limit(r: &mut Reader, node: Node) -> Option<Option<RateLimit>> {
    let origin = node.origin.clone();
    let mut keys = Keys::of(r, "rate_limit", node, &["interval", "burst"])?;
    let interval = keys.read(r, "interval", |r, name, node| match &node.value {
        Value::Text(zero) if zero.trim() == "0" => Some(Span::ZERO),
        _ => r.span(name, node, Span::ZERO),
    });
    let burst = keys.read(r, "burst", |r, name, node| r.count(name, node, 0));
    let (interval, burst) = (interval?.unwrap_or(Span::ZERO), burst?.unwrap_or(0));
    if interval == Span::ZERO {
        return Some(None);
    }
    if burst == 0 {
        return r.wrong(&origin, "rate_limit: with a burst of 0 no request is allowed", "write a burst of 1 or more");
    }
    Some(Some(RateLimit { interval: Duration::from_millis(interval.as_millis().unsigned_abs()), burst }))
}

#[cfg(test)]
mod tests;
