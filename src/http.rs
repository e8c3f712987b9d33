//! What is served over HTTP: the last published metrics, health and readiness. A request waits for nothing
//! but the network, and, the first time, for its password to be checked.

mod connections;
mod door;
mod expiry;
mod exposition;
mod network;
mod pages;
mod passwords;
mod progress;
mod tls;
mod turns;
mod web_files;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use crate::own_metrics::OwnMetrics;
use crate::publish::Published;
use crate::settings;

pub use connections::Limits;
use connections::{Connected, Connections};
pub use door::check_web_config;
use door::{InForce, Peer};
use exposition::Compressing;
use pages::Pages;
use progress::{Transport, Watched};
use web_files::Changes;

/// For open requests to be answered once the process ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Before another connection is accepted where one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot serve HTTP on {0}: the address is in use; stop the other process, or choose another one with --listen \
         or http.listen"
    )]
    InUse(SocketAddr),
    #[error("cannot serve HTTP on {0}: {1}; choose another address with --listen or http.listen")]
    Other(SocketAddr, io::Error),
}

/// Where to serve, and to whom.
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// [`settings::Http::web_config_file`]
    pub web_config_file: Option<PathBuf>,
    pub limits: Limits,
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { address, web_config_file: None, limits: Limits::default() }
    }
}

impl From<&settings::Http> for Listen {
    fn from(http: &settings::Http) -> Self {
        Self { web_config_file: http.web_config_file.clone(), ..http.listen.into() }
    }
}

impl Listen {
    /// Whether the port is free and the web configuration good.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(path) = &self.web_config_file {
            check_web_config(path)?;
        }
        drop(bind(self.address)?);
        Ok(())
    }
}

/// A server on a thread of its own, which the engine's threads cannot hold up.
pub struct Server {
    address: SocketAddr,
    door: InForce,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens, and serves until [`Self::stop`].
    pub fn start(listen: impl Into<Listen>, published: Arc<Published>, own: OwnMetrics) -> anyhow::Result<Self> {
        let listen = listen.into();
        let (door, changes) = InForce::read(listen.web_config_file.as_deref())?;
        let listener = bind(listen.address)?;
        let address = listener.local_addr().context("cannot tell the address of the HTTP server")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the HTTP server")?;
        let (stop, stopped) = oneshot::channel();
        let pages = Pages { published, own, compressing: Compressing::new() };
        let serving = Serving { pages, door: door.clone(), listen, changes };
        let serve = move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serving.serve(listener, async { drop(stopped.await) }).await,
                    Err(error) => tracing::error!("no HTTP is served, restart churnwatch: {error}"),
                }
            });
            // A password may still be checked, or a file be read: nobody waits for that.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(serve)
            .context("cannot start the thread of the HTTP server")?;
        Ok(Self { address, door, stop, thread })
    }

    /// Where it listens: the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of the metrics.
    pub fn url(&self) -> String {
        let scheme = if self.door.has_tls() { "https" } else { "http" };
        format!("{scheme}://{}/metrics", self.address)
    }

    /// Accepts nothing more, answers what is open, and ends.
    pub fn stop(self) {
        // An error says that the thread has ended already.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// A listener as the server wants it, once made a tokio one.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Other(address, error),
    })
}

/// All that the server's thread needs.
struct Serving {
    pages: Pages,
    door: InForce,
    listen: Listen,
    changes: Option<Changes>,
}

impl Serving {
    /// Serves until `shutdown`, then answers what is open.
    async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let Self { pages, door, listen, changes } = self;
        let own = pages.own.clone();
        let followed = door.clone();
        let follow = async {
            match (&listen.web_config_file, changes) {
                (Some(path), Some(changes)) => followed.follow(path, changes, &own).await,
                _ => std::future::pending().await,
            }
        };
        let graceful = GracefulShutdown::new();
        tokio::select! {
            () = shutdown => {}
            () = follow => {}
            () = accept(&listener, pages, &door, listen.limits, &graceful) => {}
        }
        drop(listener);
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::debug!("HTTP connections were still open at the end");
        }
    }
}

/// Accepts connections, and closes those that take too long.
async fn accept(listener: &TcpListener, pages: Pages, door: &InForce, limits: Limits, graceful: &GracefulShutdown) {
    let router = pages::router(pages, door.clone());
    let connections = Connections::new(limits);
    let mut sweep = tokio::time::interval(connections.sweep_interval());
    let mut complained = false;
    loop {
        let accepted = tokio::select! {
            _ = sweep.tick() => {
                connections.close_overdue(door.load().generation);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                complain(&error, &mut complained);
                // Connections that end free what is missing.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A page goes out in parts, the last of which would wait for the others to be acknowledged: 40 ms a scrape.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("an HTTP connection keeps small parts back: {error}");
        }
        let (watcher, now) = (graceful.watcher(), door.load());
        let (router, door) = (router.clone(), door.clone());
        connections.admit(peer.ip(), now.generation, |connected| async move {
            let admitted = Admitted { router, door, generation: now.generation, peer: peer.ip(), connected };
            match &now.tls {
                None => connection(stream, admitted, watcher).await,
                Some(tls) => match shake_hands(tls, stream).await {
                    Ok(stream) => {
                        admitted.connected.progress.shaken_hands();
                        connection(stream, admitted, watcher).await;
                    }
                    Err(error) => tracing::debug!("a TLS handshake failed: {error}"),
                },
            }
        });
    }
}

/// Warns once: what is missing may come and go many times a second.
fn complain(error: &io::Error, complained: &mut bool) {
    if *complained || error.kind() == io::ErrorKind::ConnectionAborted {
        tracing::debug!("an HTTP connection could not be accepted: {error}");
    } else {
        *complained = true;
        tracing::warn!(
            "an HTTP connection could not be accepted: {error}; allow more open files (LimitNOFILE, ulimit -n) if \
             that is what is missing. It is not said again"
        );
    }
}

/// What a connection came in to.
struct Admitted {
    router: axum::Router,
    door: InForce,
    /// Of the web configuration in force then.
    generation: u64,
    peer: IpAddr,
    connected: Connected,
}

impl Admitted {
    async fn answer(self: Arc<Self>, mut request: hyper::Request<hyper::body::Incoming>) -> hyper::Response<Body> {
        request.extensions_mut().insert(Peer(self.peer));
        request.extensions_mut().insert(self.connected.clone());
        let Ok(mut response) = self.router.clone().oneshot(request.map(Body::new)).await;
        if self.door.load().generation != self.generation {
            // Who goes on asking shows what the new one wants to see, too.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// To those who speak plain HTTP, says what is wrong in a way that they understand.
async fn shake_hands(
    tls: &tokio_rustls::TlsAcceptor,
    mut stream: TcpStream,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE && first[0].is_ascii_uppercase() {
        let text = "this port speaks HTTPS\n";
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it was plain HTTP"));
    }
    tls.accept(stream).await
}

/// Answers the requests of a connection.
async fn connection<S: Transport>(stream: S, admitted: Admitted, watcher: Watcher) {
    let (progress, admitted) = (admitted.connected.progress.clone(), Arc::new(admitted));
    let service = service_fn(move |request| {
        let (answer, asked) = (admitted.clone().answer(request), admitted.connected.progress.asked());
        async move { Ok::<_, Infallible>(answer.await.map(|body| asked.answered_by(body))) }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEADER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(Watched { stream, progress }), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("an HTTP connection broke: {error}");
    }
}
