//! Bare measures of the same machine in the same run, to hold figures against.

use std::hint::black_box;
use std::time::Instant;

use super::figures::median;

const SAMPLES: usize = 24;
const ACCESSES: usize = 200_000;
/// How many accesses are under way at the same time.
const CHAINS: usize = 32;

/// As large as a customer's record.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

/// Nanoseconds for one of so many cache lines at random.
pub struct RandomAccess {
    /// Each access waits for the one before.
    pub latency_ns: f64,
    /// 32 independent ones at a time.
    pub in_flight_ns: f64,
}

impl RandomAccess {
    pub fn measure(lines: usize) -> Self {
        // Written, because untouched memory is a single page of zeros.
        let lines: Vec<Line> = (0..lines as u64).map(|n| Line([n; 8])).collect();
        let mut latency = Vec::new();
        let mut in_flight = Vec::new();
        let mut chain = 1;
        let mut chains: [u64; CHAINS] = std::array::from_fn(|n| n as u64 + 7);
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            for _ in 0..ACCESSES {
                chain = next(&lines, chain);
            }
            latency.push(begun.elapsed().as_nanos() as f64 / ACCESSES as f64);
            let begun = Instant::now();
            for _ in 0..ACCESSES / CHAINS {
                for chain in &mut chains {
                    *chain = next(&lines, *chain);
                }
            }
            in_flight.push(begun.elapsed().as_nanos() as f64 / (ACCESSES / CHAINS * CHAINS) as f64);
        }
        black_box((chain, chains));
        Self { latency_ns: median(&mut latency), in_flight_ns: median(&mut in_flight) }
    }
}

/// What lies at the place that `state` says decides the next place.
fn next(lines: &[Line], state: u64) -> u64 {
    let mixed = state.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0xD1B5_4A32_D192_ED03);
    let place = (u128::from(mixed) * lines.len() as u128) >> 64;
    mixed ^ lines[place as usize].0[3]
}

/// Nanoseconds to go once over these bytes, one after the other (FNV-1a): how fast the core itself is.
pub fn bytewise_ns(bytes: &[u8]) -> f64 {
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let begun = Instant::now();
            let hash = black_box(bytes)
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            black_box(hash);
            begun.elapsed().as_nanos() as f64
        })
        .collect();
    median(&mut samples)
}

/// Bytes that could be allocated now without swapping.
pub fn available_bytes() -> u64 {
    meminfo("MemAvailable:").unwrap_or(u64::MAX)
}

/// A line of /proc/meminfo, in bytes; `None` where there is none.
pub fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
