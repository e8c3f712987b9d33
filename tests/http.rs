//! What is served, by a real server on a free port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use churnwatch::http::{ListenError, Server, bind};
use churnwatch::own_metrics::{OwnMetrics, PartitionState, ProcessState};
use churnwatch::publish::{Page, Publication, Published, Readiness};
use churnwatch::readings::Readings;
use churnwatch::time::Instant;

use crate::support::until;

const COHORTS: &str = "# TYPE churnwatch_customers gauge\nchurnwatch_customers{cohort_by=\"everyone\"} 7\n";

/// A page with this text of cohort gauges, and one partition.
fn page(cohort_text: &str, as_of_ms: i64) -> Page {
    let partition = PartitionState { topic: "events".to_owned(), partition: 3, lag: Some(5), ..Default::default() };
    let state = ProcessState { partitions: vec![partition], ..Default::default() };
    let publication = Publication { as_of: Instant::from_millis(as_of_ms), readings: Readings::default() };
    Page::published(publication, cohort_text.to_owned(), state)
}

struct Served {
    published: Arc<Published>,
    server: Server,
}

fn serve(stalled_after: Duration) -> Served {
    let published = Arc::new(Published::new(stalled_after));
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(any_port, published.clone(), OwnMetrics::new()).unwrap();
    Served { published, server }
}

const LONG: Duration = Duration::from_secs(3600);

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Served {
    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.server.address()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        let mut response = agent.run(request.body(()).unwrap()).unwrap();
        let headers = response.headers().iter();
        let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        Answer { status: response.status().as_u16(), headers, body: response.body_mut().read_to_string().unwrap() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// Sends the bytes as they are and reads to the end of the connection.
    fn raw(&self, request: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that closes with unread input resets the connection; what it said before counts.
        let _ = stream.read_to_end(&mut answer);
        answer
    }
}

#[test]
fn metrics_are_all_three_texts_under_the_full_content_type() {
    let served = serve(LONG);
    served.published.swap(page(COHORTS, 1_000));

    let answer = served.get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.body.starts_with(COHORTS), "{}", answer.body);
    let has = |line: &str| assert!(answer.body.lines().any(|l| l == line), "{line} in {}", answer.body);
    has("churnwatch_kafka_consumer_lag{topic=\"events\",partition=\"3\"} 5");
    has("churnwatch_events_total{kind=\"started\"} 0");
    has(&format!("churnwatch_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));

    let mut types: Vec<_> = answer.body.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let families = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), families, "a family is there twice");
}

#[test]
fn metrics_are_compressed_on_request() {
    let served = serve(LONG);
    let (head, body) = {
        let answer =
            served.raw("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
    };
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.windows(2).any(|bytes| bytes == [0x1f, 0x8b]), "not gzip");
    // The client undoes it: the text is whole.
    assert!(served.get("/metrics").body.contains("\nchurnwatch_build_info{"));

    let plain = served.ask("GET", "/metrics", &[("accept-encoding", "identity")]);
    assert_eq!(plain.header("content-encoding"), None);
}

#[test]
fn head_is_get_without_a_body() {
    let served = serve(LONG);
    for path in ["/metrics", "/", "/-/healthy"] {
        // The client would try to decompress the body that is not there.
        let answer = served.ask("HEAD", path, &[("accept-encoding", "identity")]);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
        assert_eq!(answer.header("content-type"), served.get(path).header("content-type"), "{path}");
    }
}

#[test]
fn other_methods_and_other_paths_are_refused() {
    let served = serve(LONG);
    for path in ["/metrics", "/", "/-/healthy", "/healthz", "/-/ready", "/readyz"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = served.ask(method, path, &[]);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{method} {path}");
        }
    }
    let answer = served.get("/metric");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("/metrics"), "{}", answer.body);
}

#[test]
fn readiness_comes_and_goes_with_its_reason() {
    let served = serve(LONG);
    let check = |status: u16, body: &str| {
        for path in ["/-/ready", "/readyz"] {
            let answer = served.get(path);
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
        }
    };
    check(503, "not ready: starting\n");
    served.published.readiness.store(Arc::new(Readiness::NotReady("events-3 is 17 records\nbehind".to_owned())));
    check(503, "not ready: events-3 is 17 records behind\n");
    served.published.readiness.store(Arc::new(Readiness::Ready));
    check(200, "ready\n");
    served.published.readiness.store(Arc::new(Readiness::NotReady("the brokers do not answer".to_owned())));
    check(503, "not ready: the brokers do not answer\n");
}

#[test]
fn a_process_without_progress_is_not_healthy() {
    let well = serve(LONG);
    let stalled = serve(Duration::ZERO);
    for path in ["/-/healthy", "/healthz"] {
        let answer = well.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (200, "healthy\n"));
        until("stalled", || stalled.get(path).status == 503);
        let body = stalled.get(path).body;
        assert!(body.starts_with("stalled: the publication loop made no progress for "), "{body}");
    }
}

#[test]
fn progress_of_both_loops_makes_a_process_healthy_again() {
    let patience = Duration::from_millis(500);
    let served = serve(patience);
    until("stalled", || served.get("/healthz").status == 503);
    until("the other", || {
        served.published.beat();
        served.get("/healthz").body.starts_with("stalled: the Kafka client made no progress for ")
    });
    until("healthy", || {
        served.published.beat();
        served.published.beat_of_kafka();
        served.get("/healthz").status == 200
    });
}

#[test]
fn a_partition_that_stands_still_makes_the_process_unhealthy() {
    let served = serve(LONG);
    served.published.stalled_partitions.store(2, Ordering::Relaxed);
    let answer = served.get("/healthz");
    let expected = "stalled: 2 partitions are not read on although there is something to read\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, expected));
    served.published.stalled_partitions.store(0, Ordering::Relaxed);
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn the_index_links_the_pages_and_says_as_of() {
    let served = serve(LONG);
    served.published.readiness.store(Arc::new(Readiness::NotReady("<script>".to_owned())));
    let before = served.get("/");
    assert_eq!(before.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(before.body.contains("nothing is published yet") && !before.body.contains("<script>"), "{}", before.body);

    let as_of = Instant::parse_rfc3339("2026-02-01T10:00:00Z").unwrap();
    served.published.swap(page(COHORTS, as_of.as_millis()));
    let body = served.get("/").body;
    for part in ["as of 2026-02-01T10:00:00Z", env!("CARGO_PKG_VERSION"), "/metrics", "/-/ready", "/-/healthy"] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

#[test]
fn scrapes_are_answered_with_the_last_page_while_the_engine_is_busy() {
    let served = serve(LONG);
    let (busy, release) = (mpsc::channel(), mpsc::channel());
    let published = served.published.clone();
    let engine = std::thread::spawn(move || {
        published.swap(page("first 1\n", 1));
        busy.0.send(()).unwrap();
        release.1.recv().unwrap();
        published.swap(page("second 2\n", 2));
    });
    busy.1.recv().unwrap();
    for _ in 0..20 {
        assert!(served.get("/metrics").body.starts_with("first 1\n"));
    }
    release.0.send(()).unwrap();
    engine.join().unwrap();
    assert!(served.get("/metrics").body.starts_with("second 2\n"));
}

#[test]
fn a_withheld_page_says_nothing_of_what_was_published() {
    let served = serve(LONG);
    let has = |name: &str| served.get("/metrics").body.lines().any(|line| line.starts_with(name));
    served.published.swap(page(COHORTS, 1_000));
    let published = "churnwatch_partition_published{topic=\"events\",partition=\"3\"} 1";
    assert!(has("churnwatch_as_of_timestamp_seconds 1") && has(published) && has("churnwatch_customers"));
    served.published.withhold();
    let withheld = "churnwatch_partition_published{topic=\"events\",partition=\"3\"} 0";
    assert!(!has("churnwatch_as_of_timestamp_seconds") && has(withheld) && !has("churnwatch_customers"));
    assert!(has("churnwatch_kafka_consumer_lag{"), "what is not of the gauges stays");
}

#[test]
fn one_scrape_never_mixes_two_pages() {
    let served = serve(LONG);
    let published = served.published.clone();
    let (stop, stopped) = mpsc::channel::<()>();
    let engine = std::thread::spawn(move || {
        for round in (1..).take_while(|_| stopped.try_recv() != Err(mpsc::TryRecvError::Disconnected)) {
            published.swap(page(&format!("round {round}\n"), round * 1_000));
            published.withhold();
        }
    });
    let mut seen = (0, 0);
    // Each kind of page has to come by, however the threads take turns.
    until("both kinds of page seen often", || {
        let body = served.get("/metrics").body;
        let value = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let round = value("round ");
        assert_eq!(value("churnwatch_as_of_timestamp_seconds "), round, "{body}");
        let covered = value("churnwatch_partition_published{topic=\"events\",partition=\"3\"} ").unwrap_or_default();
        assert!(covered.is_empty() || (covered == "1") == round.is_some(), "{body}");
        *if round.is_some() { &mut seen.0 } else { &mut seen.1 } += 1;
        seen.0 > 50 && seen.1 > 50
    });
    drop(stop);
    engine.join().unwrap();
}

#[test]
fn a_taken_port_is_named_with_the_remedy() {
    let served = serve(LONG);
    let address = served.server.address();
    let error = bind(address).unwrap_err();
    assert!(matches!(error, ListenError::InUse(taken) if taken == address), "{error}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("--listen"), "{text}");
    let error = Server::start(address, served.published, OwnMetrics::new()).err().unwrap();
    assert_eq!(error.to_string(), text);
}

#[test]
fn an_endless_header_is_refused() {
    let served = serve(LONG);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(64 * 1024));
    let answer = String::from_utf8_lossy(&served.raw(&request)).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(served.get("/metrics").status, 200);
}

#[test]
fn connections_that_say_nothing_do_not_keep_others_out_or_the_process_up() {
    let served = serve(LONG);
    let address = served.server.address();
    let silent: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(served.get("/metrics").status, 200);
    served.server.stop();
    drop(silent);
    assert!(TcpStream::connect(address).is_err(), "still listening");
}
