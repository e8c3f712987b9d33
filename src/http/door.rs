//! Who may come in, and how: the web configuration in force, which a better one takes the place of while serving.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use arc_swap::ArcSwap;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::pages::is_probe;
use super::passwords::{Credentials, Judgement, Passwords, Verdicts};
use super::tls;
use super::web_files::{Changes, WebFiles};
use crate::own_metrics::OwnMetrics;
use crate::settings::{ClientAuth, ConfigError, RateLimit, WebConfig};

/// How often the files are looked at. A change counts once it has been seen twice.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A web configuration in use.
pub(super) struct Door {
    pub tls: Option<TlsAcceptor>,
    /// Until when its certificate is valid.
    expiry: Option<SystemTime>,
    /// How many there were before it.
    pub generation: u64,
    headers: Vec<(HeaderName, HeaderValue)>,
    passwords: Passwords,
    limiter: Option<Limiter>,
    client_auth: ClientAuth,
    client_allowed_sans: Vec<String>,
}

/// The address that a request comes from.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

impl Door {
    /// Of no web configuration.
    fn open(verdicts: &Arc<Verdicts>) -> Self {
        Self {
            tls: None,
            expiry: None,
            generation: 0,
            headers: Vec::new(),
            passwords: Passwords::new(Default::default(), verdicts.clone()),
            limiter: None,
            client_auth: ClientAuth::None,
            client_allowed_sans: Vec::new(),
        }
    }

    fn new(files: &WebFiles, verdicts: &Arc<Verdicts>) -> Result<Self, ConfigError> {
        let config = files.parse()?;
        let header = |(name, value): &(&'static str, String)| {
            let value = HeaderValue::from_str(value);
            let what =
                || ConfigError::remark(format!("the header {name} has a value that HTTP cannot say"), "correct it");
            Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| what())?, value.map_err(|_| what())?))
        };
        let server = config.tls.as_ref().map(|tls| tls::server(tls, files)).transpose()?;
        Ok(Self {
            generation: 0,
            expiry: server.as_ref().and_then(|server| server.expiry),
            tls: server.map(|server| TlsAcceptor::from(Arc::new(server.config))),
            headers: config.headers.iter().map(header).collect::<Result<_, ConfigError>>()?,
            passwords: Passwords::new(config.users, verdicts.clone()),
            limiter: config.rate_limit.map(Limiter::new),
            client_auth: config.tls.as_ref().map_or(ClientAuth::None, |tls| tls.client_auth),
            client_allowed_sans: config.tls.map(|tls| tls.client_allowed_sans).unwrap_or_default(),
        })
    }

    /// What somebody who came in here would no longer need, where there is something.
    fn opened_by(&self, next: &Self) -> Option<&'static str> {
        if self.tls.is_some() && next.tls.is_none() {
            return Some("TLS");
        }
        if !self.passwords.is_empty() && next.passwords.is_empty() {
            return Some("a password");
        }
        if next.client_auth < self.client_auth {
            return Some("the client certificate");
        }
        let any_name = !self.client_allowed_sans.is_empty() && next.client_allowed_sans.is_empty();
        any_name.then_some("one of client_allowed_sans")
    }
}

/// What a web configuration says, once it and all that it names have been checked.
pub fn check_web_config(path: &Path) -> Result<WebConfig> {
    let files = WebFiles::read(path);
    Door::new(&files, &Arc::new(Verdicts::new()?))?;
    Ok(files.parse()?)
}

/// The door as it is now. Clones are the same door.
#[derive(Clone)]
pub(super) struct InForce {
    door: Arc<ArcSwap<Door>>,
    verdicts: Arc<Verdicts>,
}

impl InForce {
    /// As the web configuration says, where there is one.
    pub fn read(path: Option<&Path>) -> Result<(Self, Option<Changes>)> {
        let verdicts = Arc::new(Verdicts::new()?);
        let (door, changes) = match path {
            None => (Door::open(&verdicts), None),
            Some(path) => {
                let files = WebFiles::read(path);
                (Door::new(&files, &verdicts)?, Some(Changes::since(files)))
            }
        };
        Ok((Self { door: Arc::new(ArcSwap::from_pointee(door)), verdicts }, changes))
    }

    pub fn load(&self) -> Arc<Door> {
        self.door.load_full()
    }

    pub fn has_tls(&self) -> bool {
        self.door.load().tls.is_some()
    }

    /// Looks at the files for as long as it is polled, and puts what is good in force. What is not, or would open the
    /// door, is said and left.
    pub async fn follow(&self, path: &Path, mut changes: Changes, own: &OwnMetrics) {
        own.web_config_read(Some(SystemTime::now()));
        own.web_certificate(self.load().expiry);
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tick.tick().await;
            let path = path.to_owned();
            // A disk that hangs must not hold up a scrape.
            let Ok(now) = tokio::task::spawn_blocking(move || WebFiles::read(&path)).await else { continue };
            let Some(files) = changes.settled(now) else { continue };
            match self.replacement(files) {
                Ok(door) => {
                    own.web_certificate(door.expiry);
                    self.door.store(Arc::new(door));
                    own.web_config_read(Some(SystemTime::now()));
                    info!("the web configuration has changed, and is in force");
                }
                Err(error) => {
                    own.web_config_read(None);
                    let error = error.to_string().replace('\n', "; ");
                    warn!("the changed web configuration is not used, the one before stays in force: {error}");
                }
            }
        }
    }

    fn replacement(&self, files: &WebFiles) -> Result<Door, ConfigError> {
        let before = self.door.load();
        let next = Door::new(files, &self.verdicts)?;
        match before.opened_by(&next) {
            None => Ok(Door { generation: before.generation + 1, ..next }),
            Some(what) => Err(ConfigError::remark(
                format!("nobody would need {what} any more"),
                "restart churnwatch if that is meant",
            )),
        }
    }
}

/// What every response carries.
pub(super) async fn add_headers(State(door): State<InForce>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in &door.load().headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// Lets a request pass, or answers it.
pub(super) async fn guard(
    State(door): State<InForce>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let door = door.load();
    let limiter = door.limiter.as_ref().filter(|_| !is_probe(request.uri().path()));
    if limiter.is_some_and(|limiter| !limiter.admits(Instant::now())) {
        return (StatusCode::TOO_MANY_REQUESTS, "too many requests\n").into_response();
    }
    if !door.passwords.is_empty() {
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|value| Credentials::from_header(value.as_bytes()));
        let judgement = match given {
            Some(given) => door.passwords.judge(given, peer).await,
            None => Judgement::Wrong,
        };
        match judgement {
            Judgement::Right => {}
            Judgement::Wrong => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"churnwatch\", charset=\"UTF-8\"")];
                return (StatusCode::UNAUTHORIZED, challenge, "a name and a password are needed\n").into_response();
            }
            Judgement::Busy => {
                let retry = [(header::RETRY_AFTER, "1")];
                let text = "another password from your address is being checked\n";
                return (StatusCode::TOO_MANY_REQUESTS, retry, text).into_response();
            }
        }
    }
    next.run(request).await
}

/// A bucket of tokens, one of which each request takes.
struct Limiter {
    limit: RateLimit,
    state: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Limiter {
    fn new(limit: RateLimit) -> Self {
        Self { limit, state: Mutex::new(Bucket { tokens: limit.burst as f64, filled: Instant::now() }) }
    }

    fn admits(&self, now: Instant) -> bool {
        let mut bucket = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() / self.limit.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + gained).min(self.limit.burst as f64);
        bucket.filled = now.max(bucket.filled);
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use futures_util::FutureExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn a_password_is_put_off_while_another_one_of_the_same_address_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        let hash = bcrypt::hash("right", 4).unwrap();
        std::fs::write(&path, format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
        let (door, _) = InForce::read(Some(&path)).unwrap();
        let turn = door.verdicts.turns.take(IpAddr::from([10, 0, 0, 9])).now_or_never().unwrap();
        let router = Router::new().route("/", get(|| async { "in" })).layer(from_fn_with_state(door, guard));
        let ask = |password: &str, last: u8| {
            let credentials = format!("Basic {}", STANDARD.encode(format!("alice:{password}")));
            let request = Request::builder().uri("/").header(header::AUTHORIZATION, credentials);
            let request = request.extension(Peer(IpAddr::from([10, 0, 0, last]))).body(Body::empty()).unwrap();
            Box::pin(router.clone().oneshot(request))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut wrong = ask("wrong", 1);
            assert!((&mut wrong).now_or_never().is_none(), "it waits for its turn");
            let put_off = ask("right", 1).now_or_never().unwrap().unwrap();
            assert_eq!(put_off.status(), StatusCode::TOO_MANY_REQUESTS);
            assert!(put_off.headers().contains_key(header::RETRY_AFTER));
            drop(turn);
            let (wrong, of_another) = futures_util::future::join(wrong, ask("right", 2)).await;
            assert_eq!(wrong.unwrap().status(), StatusCode::UNAUTHORIZED);
            assert_eq!(of_another.unwrap().status(), StatusCode::OK);
        });
    }

    #[test]
    fn a_bucket_admits_its_burst_and_then_one_each_interval() {
        let limiter = Limiter::new(RateLimit { interval: Duration::from_secs(2), burst: 3 });
        let start = Instant::now();
        let admitted = |after_s: u64| limiter.admits(start + Duration::from_secs(after_s));
        assert_eq!([0, 0, 0, 0].map(admitted), [true, true, true, false]);
        assert_eq!([1, 2, 2, 4].map(admitted), [false, true, false, true]);
        assert_eq!([60, 60, 60, 60].map(admitted), [true, true, true, false], "no more than the burst is saved up");
    }
}
