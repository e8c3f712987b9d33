//! A TCP proxy that does to the connections through it what networks and servers do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What becomes of what is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Pass,
    /// Connections are closed.
    Refuse,
    /// Connections are accepted, and nothing is ever answered.
    Hang,
    /// The header If-None-Match is taken away, as a server does that does not know it.
    Unconditional,
}

/// Listens until the process ends.
pub struct Proxy {
    pub address: String,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    pub fn to(server: &str, mode: Mode) -> Self {
        let server: SocketAddr = server.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mode = Arc::new(AtomicU8::new(mode as u8));
        let shared = mode.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let mode = shared.clone();
                std::thread::spawn(move || pump(client, server, &mode));
                let mode = shared.clone();
                std::thread::spawn(move || pump(server_too, client_too, &mode));
            }
        });
        Self { address, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Release);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..len];
        let mode = mode.load(Ordering::Acquire);
        if mode == Mode::Refuse as u8 {
            break;
        }
        if mode == Mode::Hang as u8 {
            continue;
        }
        if mode == Mode::Unconditional as u8 {
            rename_header(bytes);
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// To one of the same length that nobody knows.
fn rename_header(bytes: &mut [u8]) {
    const NAME: &[u8] = b"if-none-match";
    let found = bytes.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME));
    if let Some(at) = found {
        bytes[at..at + NAME.len()].copy_from_slice(b"x-none-match0");
    }
}
