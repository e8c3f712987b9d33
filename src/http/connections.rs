//! The open connections, each with a limit for what it is doing: nobody who says nothing, or does not listen, keeps
//! a scrape out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

/// How long a connection may take for what, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a handshake, and for a request's header from its first byte to its last.
    pub header: Duration,
    /// Until it is used again.
    pub idle: Duration,
    /// For a request to be answered, and the answer to be taken.
    pub answer: Duration,
    pub max_connections: usize,
    /// Of the metrics, that are not taken yet.
    pub max_scrapes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            // Longer than the usual minute between scrapes, which would meet a connection that is just being closed.
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(30),
            max_connections: 256,
            max_scrapes: 40,
        }
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// `made`: all of the answer is made, and some of it may still have to be taken.
    Answering {
        made: bool,
    },
    /// Before the whole of a request's header is there.
    Header,
}

/// A connection's phase, and since when.
#[derive(Debug)]
pub(super) struct Progress(Mutex<(Phase, Instant)>);

impl Progress {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Phase::Header, Instant::now()))))
    }

    fn now(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.now() = (phase, Instant::now());
    }

    /// The handshake is done: the time for a header begins.
    pub fn shaken_hands(&self) {
        self.enter(Phase::Header);
    }

    /// A request's header is there. The answer is to be wrapped in what this gives.
    pub fn asked(self: &Arc<Self>) -> Asked {
        self.enter(Phase::Answering { made: false });
        Asked(self.clone())
    }

    fn read(&self) {
        let mut now = self.now();
        if now.0 == Phase::Idle {
            *now = (Phase::Header, Instant::now());
        }
    }

    fn flushed(&self) {
        let mut now = self.now();
        if now.0 == (Phase::Answering { made: true }) {
            *now = (Phase::Idle, Instant::now());
        }
    }
}

/// A request that is being answered.
pub(super) struct Asked(Arc<Progress>);

impl Asked {
    /// The answer's body, which tells when all of it is made.
    pub fn answered_by(self, body: Body) -> Answer {
        Answer { body, _asked: self }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // The time it may take goes on.
        self.0.now().0 = Phase::Answering { made: true };
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    _asked: Asked,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells how the connection comes along.
pub(super) struct Watched<S> {
    pub stream: S,
    pub progress: Arc<Progress>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.progress.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once all that was written has been handed on.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The open connections. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Connections {
    limits: Limits,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next_number: u64,
    connections: BTreeMap<u64, Connection>,
}

struct Connection {
    progress: Arc<Progress>,
    task: AbortHandle,
    /// Of the web configuration in force when it was accepted.
    generation: u64,
}

/// Removes a connection from the list when it ends.
pub(super) struct Entry {
    number: u64,
    open: Arc<Mutex<Open>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        locked(&self.open).connections.remove(&self.number);
    }
}

fn locked(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// How often [`Self::close_overdue`] is to be called.
    pub fn sweep_interval(&self) -> Duration {
        let shortest = self.limits.header.min(self.limits.idle).min(self.limits.answer);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Takes a connection in, for which another one goes where there are too many, and lets `serve` begin.
    pub fn admit<F: Future<Output = ()> + Send + 'static>(
        &self,
        generation: u64,
        serve: impl FnOnce(Arc<Progress>) -> F,
    ) {
        let progress = Progress::new();
        let mut open = locked(&self.open);
        while open.connections.len() >= self.limits.max_connections && open.evict().is_some() {}
        let number = open.next_number;
        open.next_number += 1;
        let entry = Entry { number, open: self.open.clone() };
        let serving = serve(progress.clone());
        let task = tokio::spawn(async move {
            serving.await;
            drop(entry);
        });
        open.connections.insert(number, Connection { progress, task: task.abort_handle(), generation });
    }

    /// Closes what takes longer than it may, and what is idle under a web configuration that is no longer in force.
    pub fn close_overdue(&self, generation: u64) {
        let now = Instant::now();
        let Limits { header, idle, answer, .. } = self.limits;
        locked(&self.open).connections.retain(|_, connection| {
            let (phase, since) = *connection.progress.now();
            let may_take = match phase {
                Phase::Header => header,
                Phase::Idle if connection.generation != generation => Duration::ZERO,
                Phase::Idle => idle,
                Phase::Answering { .. } => answer,
            };
            let stays = now.saturating_duration_since(since) <= may_take;
            if !stays {
                tracing::debug!(?phase, "an HTTP connection took too long, and was closed");
                connection.task.abort();
            }
            stays
        });
    }
}

impl Open {
    /// Closes the connection that has waited longest for its header; where there is none, the one idle for longest;
    /// and only then one that is being answered.
    fn evict(&mut self) -> Option<()> {
        let candidates = self.connections.iter().map(|(number, connection)| {
            let (phase, since) = *connection.progress.now();
            let spared = match phase {
                Phase::Header => 0,
                Phase::Idle => 1,
                Phase::Answering { .. } => 2,
            };
            (spared, since, *number)
        });
        let (.., number) = candidates.min()?;
        self.connections.remove(&number)?.task.abort();
        tracing::debug!("too many HTTP connections: the one that waited longest was closed");
        Some(())
    }
}
