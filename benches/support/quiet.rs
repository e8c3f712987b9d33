//! Samples of an undisturbed core. Where a neighbour shares it, everything takes up to twice as long, for seconds or minutes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use churnwatch::decode::Decoder;

use super::figures::Figures;
use super::log::{Log, Mix, Payloads};

/// For how long the core is watched before the first sample.
const WATCHED: Duration = Duration::from_secs(5);
/// A core that takes longer for the same work than at its fastest, by more than this, is disturbed.
const DISTURBED: f64 = 1.15;
/// At most so many times the samples that are wanted are taken.
const TRIES: usize = 5;
const PROBED: u64 = 1024;

/// Knows how fast the core is when nobody disturbs it.
pub struct Quiet {
    payloads: Payloads,
    decoder: Decoder,
    fastest_ns: f64,
    taken: usize,
    disturbed: usize,
}

impl Quiet {
    /// Watches the core for some seconds.
    pub fn new() -> Self {
        let payloads = Log::new(Mix::Activity, PROBED).take(PROBED);
        let mut quiet =
            Self { payloads, decoder: Decoder::default(), fastest_ns: f64::INFINITY, taken: 0, disturbed: 0 };
        let begun = Instant::now();
        while begun.elapsed() < WATCHED {
            quiet.probe();
        }
        quiet
    }

    /// Nanoseconds that decoding the same events takes now: it is bound by the core, as most of an event's work is.
    fn probe(&mut self) -> f64 {
        let records = self.payloads.records();
        let pass = |decoder: &mut Decoder| {
            let begun = Instant::now();
            for record in &records {
                let _ = black_box(decoder.decode(record.payload.unwrap_or_default(), None));
            }
            begun.elapsed().as_nanos() as f64
        };
        let ns = (0..3).map(|_| pass(&mut self.decoder)).fold(f64::INFINITY, f64::min);
        self.fastest_ns = self.fastest_ns.min(ns);
        ns
    }

    /// As many samples as wanted: those during which the core was disturbed least, of several times as many if need be.
    pub fn samples<T>(&mut self, wanted: usize, mut sample: impl FnMut() -> T) -> Vec<T> {
        let mut samples = Vec::new();
        let mut before = self.probe();
        let mut left = wanted * TRIES;
        while left > 0 {
            let value = sample();
            let after = self.probe();
            samples.push((before.max(after), value));
            before = after;
            left -= 1;
            if samples.len() - self.disturbed_of(&samples) >= wanted {
                break;
            }
        }
        samples.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        samples.truncate(wanted);
        self.taken += samples.len();
        self.disturbed += self.disturbed_of(&samples);
        samples.into_iter().map(|(_, value)| value).collect()
    }

    fn disturbed_of<T>(&self, samples: &[(f64, T)]) -> usize {
        samples.iter().filter(|(ns, _)| *ns > DISTURBED * self.fastest_ns).count()
    }

    /// Says how many of the samples behind the figures were disturbed nevertheless.
    pub fn report(&self, figures: &mut Figures) {
        let share = 100.0 * self.disturbed as f64 / self.taken.max(1) as f64;
        figures.push("samples during which the core was disturbed".to_owned(), share, "%");
    }
}
