//! Every rule a configuration must obey: from the merged layers to [`Settings`], or all that is wrong.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneName};

use crate::cohort::{Lifecycle, Window};
use crate::time::{Grid, Span};

use super::cohorts;
use super::layers::{Entry, Layers, Node, Value};
use super::librdkafka::{self, Property, Refusal, is_secret};
use super::problem::{Origin, Problem, nearest};
use super::read::{At, Reader};
use super::rejecting;
use super::store_url;
use super::{Clock, Http, Kafka, Settings, Snapshot, Time, Windows};

const MILLISECOND: Span = Span::from_millis(1);
const SECOND: Span = Span::from_millis(1_000);
const TEN_SECONDS: Span = Span::from_millis(10_000);

/// Checks everything; relative paths start at `directory`.
pub(super) fn settings(layers: Layers, directory: &Path) -> Result<Settings, Vec<Problem>> {
    let r = &mut Reader { layers };
    // Every section is read before any is found wanting: all problems are named at once.
    let kafka = kafka(r, directory);
    let windows = windows(r);
    let cohorts = cohorts::read(r);
    let lifecycle = lifecycle(r);
    let time = time(r);
    let snapshot = snapshot(r);
    let http = http(r, directory);
    let problems = std::mem::take(&mut r.layers.problems);
    match (kafka, windows, cohorts, lifecycle, time, snapshot, http) {
        (
            Some(kafka),
            Some(windows),
            Some((dimensions, groupings)),
            Some(lifecycle),
            Some(time),
            Some(snapshot),
            Some(http),
        ) if problems.is_empty() => {
            Ok(Settings { kafka, windows, dimensions, groupings, lifecycle, time, snapshot, http })
        }
        _ => Err(problems),
    }
}

fn kafka(r: &mut Reader, directory: &Path) -> Option<Kafka> {
    let brokers = r.read("kafka", "brokers", |r, name, node| r.list(name, node, broker)).and_then(|list| {
        if list.is_empty() {
            let origin = r.get("kafka", "brokers")?.origin;
            return r.wrong(
                &origin,
                "`kafka.brokers` is empty",
                "name at least one broker, such as \"localhost:9092\"",
            );
        }
        Some(list.into_iter().map(|b| b.value).collect())
    });
    let topics = r.read("kafka", "topics", |r, name, node| r.list(name, node, topic));
    let topics = topics.and_then(|list| unique(r, "topic", list));
    let group_id = r.read("kafka", "group_id", Reader::text);
    let framing = rejecting::framing(r);
    let on_rejected = rejecting::on_rejected(r, topics.as_deref());
    let prefetch_bytes = r.read("kafka", "prefetch_bytes", |r, name, node| r.count(name, node, 65_536));
    let stall_timeout = r.read("kafka", "stall_timeout", |r, name, node| r.span(name, node, TEN_SECONDS));
    let workers = r.read_optional("kafka", "workers", |r, name, node| r.count(name, node, 1));
    let librdkafka = properties(r, directory);
    Some(Kafka {
        brokers: brokers?,
        topics: topics?,
        group_id: group_id?,
        framing: framing?,
        on_rejected: on_rejected?,
        prefetch_bytes: prefetch_bytes? as u64,
        stall_timeout: wait(stall_timeout?),
        workers: workers?,
        librdkafka: librdkafka?,
    })
}

fn broker(r: &mut Reader, name: &str, node: &Node) -> Option<String> {
    let text = r.text(name, node)?;
    if text.contains(|c: char| c.is_whitespace() || c == ',') {
        return r.wrong(
            &node.origin,
            format!("`{name}`: {text:?} is not one broker"),
            "write a list: [\"a:9092\", \"b:9092\"]",
        );
    }
    let port = text.rsplit_once(':').map(|(_, port)| port);
    if port.is_some_and(|port| !port.ends_with(']') && port.parse::<u16>().is_err()) {
        return r.wrong(
            &node.origin,
            format!("`{name}`: {text:?} has no valid port"),
            "write host:port, such as \"localhost:9092\"",
        );
    }
    Some(text)
}

pub(super) fn topic(r: &mut Reader, name: &str, node: &Node) -> Option<String> {
    let text = r.text(name, node)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.len() > 249 || text == "." || text == ".." || !text.chars().all(legal) {
        let message = format!("`{name}`: {text:?} is not the name of a topic");
        return r.wrong(
            &node.origin,
            message,
            "write up to 249 letters, digits, `.`, `_` and `-`; patterns are not supported",
        );
    }
    Some(text)
}

fn unique(r: &mut Reader, what: &str, list: Vec<At<String>>) -> Option<Vec<String>> {
    let mut seen = Vec::with_capacity(list.len());
    for At { value, origin } in list {
        if seen.contains(&value) {
            return r.wrong(&origin, format!("the {what} {value:?} is listed twice"), "remove one");
        }
        seen.push(value);
    }
    Some(seen)
}

fn properties(r: &mut Reader, directory: &Path) -> Option<Vec<Property>> {
    let typed = std::mem::take(&mut r.layers.properties);
    let mut properties = Vec::with_capacity(typed.len());
    let mut complete = true;
    let names: Vec<_> = typed.iter().map(|(name, (origin, _))| (name.clone(), origin.clone())).collect();
    for (name, (name_origin, node)) in typed {
        match property(r, directory, &name, &name_origin, &node) {
            Some(property) => properties.push(property),
            None => complete = false,
        }
    }
    for (name, origin) in names {
        if let Some(why) = librdkafka::conflict(&name, &properties) {
            return r.wrong(&origin, format!("`{name}` is not for you to set with group.protocol = \"consumer\""), why);
        }
    }
    complete.then_some(properties)
}

fn property(r: &mut Reader, directory: &Path, name: &str, name_origin: &Origin, node: &Node) -> Option<Property> {
    if let Some(why) = librdkafka::ours(name) {
        return r.wrong(name_origin, format!("`{name}` is not for you to set"), why);
    }
    let (value, from_file) = match &node.value {
        Value::Text(text) | Value::Number(text) => (text.clone(), false),
        Value::Bool(b) => (b.to_string(), false),
        Value::Table(entries) => (secret_file(r, directory, entries)?, true),
        other => {
            let message = format!("`{name}` is {}", other.kind());
            return r.wrong(&node.origin, message, "write a string, a number, a boolean or { file = \"path\" }");
        }
    };
    let property = Property { name: name.to_owned(), value, secret: from_file || is_secret(name) };
    match librdkafka::check(&property) {
        Ok(()) => Some(property),
        Err(Refusal::Unknown) => {
            let remedy = match nearest(name, librdkafka::COMMON) {
                Some(known) => format!("did you mean `{known}`?"),
                None => "see librdkafka's CONFIGURATION.md for its properties".to_owned(),
            };
            r.wrong(name_origin, format!("the Kafka client has no property `{name}`"), remedy)
        }
        Err(Refusal::Invalid(words)) => {
            r.wrong(&node.origin, format!("`{name}`: {words}"), "see librdkafka's CONFIGURATION.md for its values")
        }
    }
}

fn secret_file(r: &mut Reader, directory: &Path, entries: &[Entry]) -> Option<String> {
    let [entry] = entries else { return None };
    let path = directory.join(r.text("file", &entry.node)?);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Some(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
        Err(e) => {
            let message = format!("cannot read {}: {e}", path.display());
            r.wrong(
                &entry.node.origin,
                message,
                "name a readable UTF-8 file; a relative path starts at the configuration file",
            )
        }
    }
}

fn windows(r: &mut Reader) -> Option<Windows> {
    let step = r.read("windows", "step", |r, name, node| r.span(name, node, Grid::MIN_STEP));
    let grid = step.and_then(Grid::new);
    let lengths = r.read("windows", "lengths", |r, name, node| r.list(name, node, window));
    let lengths = lengths.and_then(|list| window_lengths(r, list, grid.map_or(Grid::MIN_STEP, Grid::step)));
    let max_cohorts = r.read("windows", "max_cohorts", |r, name, node| r.count(name, node, 1));
    Some(Windows { lengths: lengths?, grid: grid?, max_cohorts: max_cohorts? })
}

fn window(r: &mut Reader, name: &str, node: &Node) -> Option<Window> {
    let length = r.span(name, node, MILLISECOND)?;
    Some(Window { label: r.text(name, node)?, length })
}

fn window_lengths(r: &mut Reader, list: Vec<At<Window>>, step: Span) -> Option<Vec<Window>> {
    if list.is_empty() {
        let origin = r.get("windows", "lengths")?.origin;
        return r.wrong(&origin, "`windows.lengths` is empty", "name at least one window, such as \"30d\"");
    }
    let mut windows: Vec<Window> = Vec::with_capacity(list.len());
    for At { value, origin } in list {
        if value.length < step {
            let message = format!("the window {} is shorter than the step", value.label);
            r.problem(Problem::new(&origin, message).remedy("make it longer, or windows.step shorter"));
        }
        if let Some(same) = windows.iter().find(|w| w.length == value.length) {
            let message = format!("the windows {} and {} are of the same length", same.label, value.label);
            r.problem(Problem::new(&origin, message).remedy("remove one"));
        }
        windows.push(value);
    }
    Some(windows)
}

fn lifecycle(r: &mut Reader) -> Option<Lifecycle> {
    let timeout = r.read_optional("lifecycle", "inactivity_timeout", |r, name, node| r.span(name, node, MILLISECOND));
    let grace_period = r.read("lifecycle", "grace_period", |r, name, node| r.span(name, node, Span::ZERO));
    Some(Lifecycle { inactivity_timeout: timeout?, grace_period: grace_period? })
}

fn time(r: &mut Reader) -> Option<Time> {
    let clocks = [("wall", Clock::Wall), ("event", Clock::Event)];
    let clock = r.read("time", "clock", |r, name, node| r.choice(name, node, &clocks));
    let zone = r.read("time", "zone", zone);
    let max_future = r.read("time", "max_future", |r, name, node| r.span(name, node, Span::ZERO));
    let complete_since = r.read_optional("time", "complete_since", Reader::instant);
    Some(Time { clock: clock?, zone: zone?, max_future: max_future?, complete_since: complete_since? })
}

fn zone(r: &mut Reader, name: &str, node: &Node) -> Option<TimeZone> {
    let text = r.text(name, node)?;
    if let Ok(zone) = jiff::tz::db().get(&text) {
        return Some(zone);
    }
    let known: Vec<_> = jiff::tz::db().available().collect();
    let remedy = match nearest(&text, known.iter().map(TimeZoneName::as_str)) {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => "write a name of the IANA time zone database, such as \"Europe/Berlin\" or \"UTC\"".to_owned(),
    };
    r.wrong(&node.origin, format!("`{name}`: there is no time zone {text:?}"), remedy)
}

fn snapshot(r: &mut Reader) -> Option<Snapshot> {
    let store = r.read("snapshot", "store", store_url::read);
    let interval = r.read("snapshot", "interval", |r, name, node| r.span(name, node, SECOND));
    let keep = r.read("snapshot", "keep", |r, name, node| r.count(name, node, 1));
    Some(Snapshot { store: store?, interval: wait(interval?), keep: keep? })
}

fn http(r: &mut Reader, directory: &Path) -> Option<Http> {
    let listen = r.read("http", "listen", |r, name, node| {
        let text = r.text(name, node)?;
        let parsed: Option<SocketAddr> = text.parse().ok();
        let remedy = "write address:port, such as \"127.0.0.1:8642\" or \"[::]:8642\"";
        parsed.or_else(|| r.wrong(&node.origin, format!("`{name}`: {text:?} is not an address and port"), remedy))
    });
    let web_config_file = r.read_optional("http", "web_config_file", |r, name, node| {
        let path = r.text(name, node)?;
        // What is typed at a prompt is meant from where it is typed.
        Some(if matches!(node.origin, Origin::File(_)) { directory.join(path) } else { path.into() })
    });
    let least = Span::from_millis(100);
    let publish_interval = r.read("http", "publish_interval", |r, name, node| r.span(name, node, least));
    Some(Http { listen: listen?, web_config_file: web_config_file?, publish_interval: wait(publish_interval?) })
}

fn wait(span: Span) -> Duration {
    Duration::from_millis(span.as_millis().unsigned_abs())
}
