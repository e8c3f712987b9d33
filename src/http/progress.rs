//! What a connection is at and since when, told by the requests and answers that pass through it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the whole of a request's header is there.
    Header,
    /// There is a request, and no answer yet.
    Asked,
    /// `made`: all of the answer is made, and some of it may still have to be taken.
    Answered {
        made: bool,
    },
    Idle,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub phase: Phase,
    /// When what the limits go by began: an answer is made and taken within one.
    pub since: Instant,
    /// When the client last did something, or took a part of the answer.
    pub moved: Instant,
    /// What has not been sent when the connection ends is not sent any more.
    reset: bool,
}

/// A connection's state.
#[derive(Debug)]
pub(super) struct Progress(Mutex<State>);

impl Progress {
    pub fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(State { phase: Phase::Header, since: now, moved: now, reset: false })))
    }

    pub fn now(&self) -> State {
        *self.state()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        let (mut state, now) = (self.state(), Instant::now());
        *state = State { phase, since: now, moved: now, ..*state };
    }

    /// The handshake is done: the time for a header begins.
    pub fn shaken_hands(&self) {
        self.enter(Phase::Header);
    }

    /// A request's header is there. The answer is to be wrapped in what this gives.
    pub fn asked(self: &Arc<Self>) -> Asked {
        self.enter(Phase::Asked);
        Asked(self.clone())
    }

    /// The connection is about to be closed: what the client has not taken is not kept for it.
    pub fn cut_off(&self) {
        let mut state = self.state();
        state.reset = matches!(state.phase, Phase::Answered { .. });
    }

    fn read(&self) {
        if self.state().phase == Phase::Idle {
            self.enter(Phase::Header);
        }
    }

    pub fn written(&self) {
        self.state().moved = Instant::now();
    }

    pub fn flushed(&self) {
        if self.state().phase == (Phase::Answered { made: true }) {
            self.enter(Phase::Idle);
        }
    }
}

/// A request that is being answered.
pub(super) struct Asked(Arc<Progress>);

impl Asked {
    /// The answer's body, which tells when all of it is made.
    pub fn answered_by(self, body: Body) -> Answer {
        let mut state = self.0.state();
        (state.phase, state.moved) = (Phase::Answered { made: false }, Instant::now());
        drop(state);
        Answer { body, _asked: self }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // The time it may take goes on.
        self.0.state().phase = Phase::Answered { made: true };
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

/// What HTTP is spoken over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A stream that tells how the connection comes along.
pub(super) struct Watched<S: Transport> {
    pub stream: S,
    pub progress: Arc<Progress>,
}

impl<S: Transport> Drop for Watched<S> {
    fn drop(&mut self) {
        // Else the system would try for minutes more to send what it holds: megabytes, for each that was cut off.
        if self.progress.now().reset
            && let Err(error) = self.stream.tcp().set_zero_linger()
        {
            tracing::debug!("an HTTP connection is closed, not reset: {error}");
        }
    }
}

impl<S: Transport> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.progress.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.progress.written();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes))?;
        self.progress.written();
        Poll::Ready(Ok(written))
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
