//! What a process has cost, from /proc.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whatever the kernel counts in, this is what it tells.
const TICKS_A_SECOND: f64 = 100.0;

/// CPU-seconds of everything on the machine so far.
pub fn all_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("on Linux");
    let fields = stat.lines().next().expect("all processors").split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.map(|text| text.parse().expect("a number")).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, ..] = ticks[..] else {
        panic!("it has more fields")
    };
    (user + nice + system + interrupts + soft_interrupts) / TICKS_A_SECOND
}

/// CPU-seconds of all threads so far.
pub fn cpu_s(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives, on Linux");
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in brackets");
    let field = |index: usize| fields.split_whitespace().nth(index).and_then(|text| text.parse::<f64>().ok());
    (field(11).expect("user time") + field(12).expect("system time")) / TICKS_A_SECOND
}

/// The most memory that was resident.
pub fn peak_bytes(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives, on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells the peak");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

/// `churnwatch run`, killed when dropped.
pub struct Run {
    child: Child,
    url: String,
    agent: ureq::Agent,
}

impl Run {
    /// Starts it, and waits until it serves.
    pub fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_churnwatch"));
        command.env_remove("RUST_LOG").env_remove("CHURNWATCH_CONFIG");
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary is built with the bench");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        let url = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).is_ok_and(|read| read > 0), "it ended:\n{said}");
            if let Some((_, url)) = line.split_once("serving ") {
                break url.trim().to_owned();
            }
            said += &line;
        };
        // Read on, or it would block on a full pipe.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("WARN") || line.contains("ERROR") {
                    eprintln_line(&line);
                }
            }
        });
        // Whoever looks often should cost little.
        let plain = ureq::Agent::config_builder().accept_encoding("identity").build();
        Self { child, url, agent: plain.into() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The whole page of metrics.
    pub fn page(&self) -> String {
        scrape(&self.agent, &self.url)
    }

    /// Where the page is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Looks at the page every `every` until `seen` finds something.
    pub fn until<T>(&self, every: Duration, mut seen: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            if let Some(found) = seen(&self.page()) {
                return found;
            }
            assert!(Instant::now() < deadline, "`run` does not come to it");
            std::thread::sleep(every);
        }
    }

    /// Ends it gently, so that its last snapshots are written.
    pub fn terminate(mut self) {
        let kill = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(kill.is_ok_and(|status| status.success()));
        assert!(self.child.wait().is_ok_and(|status| status.success()), "`run` failed");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page, as Prometheus gets it.
pub fn scrape(agent: &ureq::Agent, url: &str) -> String {
    let mut answer = agent.get(url).call().expect("`run` serves its page");
    answer.body_mut().with_config().limit(1 << 30).read_to_string().expect("the page is text")
}

fn eprintln_line(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}
