//! A TCP proxy that can be told to cut connections, to hold them or some requests, to be slow, and to take a header of HTTP away.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Traffic {
    Flows = 0,
    /// Every piece waits before it goes on.
    Slow = 1,
    /// Connections stay, and nothing goes through.
    Stalled = 2,
    /// Connections are closed, and new ones, too.
    Cut = 3,
    /// As behind a server that does not know `If-None-Match`.
    Unconditional = 4,
    /// Requests of HTTP that write wait.
    WritesWait = 5,
}

/// Half the time of a round trip that [`Traffic::Slow`] adds.
const DELAY: Duration = Duration::from_millis(40);
/// How much goes through slowly at once.
const PIECE_BYTES: usize = 64 << 10;

/// Listens on a port and passes on to another; as long as the process lives.
pub struct Proxy {
    pub port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    target: u16,
    traffic: AtomicU8,
    waiting: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Passes on to a local port.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner =
            Arc::new(Inner { target, traffic: AtomicU8::new(0), waiting: AtomicUsize::new(0), open: Mutex::default() });
        let accepting = inner.clone();
        thread::spawn(move || listener.incoming().flatten().for_each(|client| accepting.accept(client)));
        Self { port, inner }
    }

    pub fn set(&self, traffic: Traffic) {
        self.inner.traffic.store(traffic as u8, Ordering::SeqCst);
        if traffic == Traffic::Cut {
            for open in self.inner.open.lock().unwrap().drain(..) {
                let _ = open.shutdown(Shutdown::Both);
            }
        }
    }

    /// How many writes [`Traffic::WritesWait`] holds.
    pub fn waiting(&self) -> usize {
        self.inner.waiting.load(Ordering::SeqCst)
    }
}

impl Inner {
    fn is(&self, traffic: Traffic) -> bool {
        self.traffic.load(Ordering::SeqCst) == traffic as u8
    }

    fn accept(self: &Arc<Self>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(("127.0.0.1", self.target)) else { return };
        let (to_client, to_broker) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
        {
            let mut open = self.open.lock().unwrap();
            open.retain(|stream| stream.peer_addr().is_ok());
            // Under the lock: a cut in between finds it.
            if self.is(Traffic::Cut) {
                return;
            }
            open.extend([client.try_clone().unwrap(), broker.try_clone().unwrap()]);
        }
        for (from, to) in [(client, to_broker), (broker, to_client)] {
            let inner = self.clone();
            thread::spawn(move || inner.pass_on(from, to));
        }
    }

    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; PIECE_BYTES];
        let mut begin = *b"    ";
        while let Ok(1..) = from.peek(&mut begin) {
            if begin == *b"PUT " {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                while self.is(Traffic::WritesWait) {
                    thread::park_timeout(DELAY);
                }
                self.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            let mut waited = false;
            while self.is(Traffic::Stalled) || (self.is(Traffic::Slow) && !waited) {
                thread::park_timeout(DELAY);
                waited = true;
            }
            let Ok(bytes) = from.read(&mut piece) else { break };
            if self.is(Traffic::Unconditional) {
                rename_header(&mut piece[..bytes]);
            }
            if self.is(Traffic::Cut) || to.write_all(&piece[..bytes]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// To one of the same length that nobody knows.
fn rename_header(bytes: &mut [u8]) {
    const NAME: &[u8] = b"if-none-match";
    let found = bytes.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    if let Some(at) = found {
        bytes[at..at + NAME.len()].copy_from_slice(b"x-none-match0");
    }
}
