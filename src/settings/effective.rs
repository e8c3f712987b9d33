//! The settings as they are in force, as the configuration that says the same; secrets are left out.

use std::fmt::Write;

use toml::Value;

use super::schema::{LIBRDKAFKA, SECTIONS};
use super::{Clock, Http, Kafka, OnRejected, Settings, Snapshot, StoreUrl, Time, Windows, duration};
use crate::cohort::{DimensionValue, Lifecycle};
use crate::framing::Framing;
use crate::time::Span;

/// What one key says; `None`: it has no value.
type Said = (&'static str, Option<Value>);

/// The whole configuration as TOML, in the order of the reference. Secret properties are `<redacted>`; everything else
/// reads back as it is.
pub fn effective_toml(settings: &Settings) -> String {
    let mut out = String::from("# The configuration in force: defaults, file, environment and flags together.\n");
    let sections = [
        ("kafka", kafka(&settings.kafka)),
        ("windows", windows(&settings.windows)),
        ("lifecycle", lifecycle(&settings.lifecycle)),
        ("time", time(&settings.time)),
        ("snapshot", snapshot(&settings.snapshot)),
        ("http", http(&settings.http)),
    ];
    for section in SECTIONS {
        match section.name {
            "dimensions" => dimensions(&mut out, settings),
            "groupings" => groupings(&mut out, settings),
            name => {
                let said = sections.iter().filter(|(section, _)| *section == name).flat_map(|(_, said)| said);
                let _ = writeln!(out, "\n[{name}]");
                for (key, value) in said {
                    let _ = match value {
                        Some(value) => writeln!(out, "{key} = {value}"),
                        None => writeln!(out, "# {key}: not set"),
                    };
                }
                if name == "kafka" {
                    properties(&mut out, &settings.kafka);
                }
            }
        }
    }
    out
}

fn text(text: impl ToString) -> Option<Value> {
    Some(Value::String(text.to_string()))
}

fn number(number: usize) -> Option<Value> {
    Some(Value::Integer(number as i64))
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Option<Value> {
    Some(Value::Array(items.into_iter().filter_map(text).collect()))
}

fn span(of: std::time::Duration) -> Option<Value> {
    text(duration::display(Span::from_millis(of.as_millis() as i64)))
}

fn kafka(kafka: &Kafka) -> Vec<Said> {
    let framing = match kafka.framing {
        Framing::Detect => "detect",
        Framing::Bare => "bare",
        Framing::Confluent => "confluent",
    };
    let (on_rejected, topic) = match &kafka.on_rejected {
        OnRejected::Skip => ("skip", None),
        OnRejected::Fail => ("fail", None),
        OnRejected::DeadLetter { topic } => ("dead_letter", text(topic)),
    };
    vec![
        ("brokers", list(&kafka.brokers)),
        ("topics", list(&kafka.topics)),
        ("group_id", text(&kafka.group_id)),
        ("framing", text(framing)),
        ("on_rejected", text(on_rejected)),
        ("dead_letter_topic", topic),
        ("prefetch_bytes", number(kafka.prefetch_bytes as usize)),
        ("stall_timeout", span(kafka.stall_timeout)),
        ("workers", kafka.workers.and_then(number)),
    ]
}

fn properties(out: &mut String, kafka: &Kafka) {
    let _ = writeln!(out, "\n[kafka.{LIBRDKAFKA}]");
    for property in &kafka.librdkafka {
        let shown = if property.secret { "<redacted>" } else { &property.value };
        let _ = writeln!(out, "{} = {}", Value::from(property.name.as_str()), Value::from(shown));
    }
}

fn windows(windows: &Windows) -> Vec<Said> {
    vec![
        ("lengths", list(windows.lengths.iter().map(|window| &window.label))),
        ("step", text(duration::display(windows.grid.step()))),
        ("max_cohorts", number(windows.max_cohorts)),
    ]
}

fn dimensions(out: &mut String, settings: &Settings) {
    for dimension in &settings.dimensions {
        let value = match dimension.value {
            DimensionValue::Window => "window",
            DimensionValue::First => "first",
        };
        let name = |name: &str| Value::from(name);
        let (declared, attribute) = (name(&dimension.name), name(&dimension.attribute));
        let _ = writeln!(out, "\n[[dimensions]]\nname = {declared}\nattribute = {attribute}\nvalue = {}", name(value));
    }
}

fn groupings(out: &mut String, settings: &Settings) {
    let definitions = settings.definitions();
    // The first is everyone, which is always there.
    for grouping in settings.groupings.iter().skip(1) {
        let by = definitions.cohort_by(grouping);
        if let Some(by) = list(by.split(',')) {
            let _ = writeln!(out, "\n[[groupings]]\nby = {by}");
        }
    }
}

fn lifecycle(lifecycle: &Lifecycle) -> Vec<Said> {
    vec![
        ("inactivity_timeout", lifecycle.inactivity_timeout.and_then(|timeout| text(duration::display(timeout)))),
        ("grace_period", text(duration::display(lifecycle.grace_period))),
    ]
}

fn time(time: &Time) -> Vec<Said> {
    let clock = match time.clock {
        Clock::Wall => "wall",
        Clock::Event => "event",
    };
    vec![
        ("clock", text(clock)),
        ("zone", text(time.zone.iana_name().unwrap_or("UTC"))),
        ("max_future", text(duration::display(time.max_future))),
        ("complete_since", time.complete_since.and_then(text)),
    ]
}

fn snapshot(snapshot: &Snapshot) -> Vec<Said> {
    let store = match &snapshot.store {
        StoreUrl::Directory(path) => format!("file://{}", path.display().to_string().replace('%', "%25")),
        StoreUrl::Objects(url) => url.to_string(),
    };
    vec![("store", text(store)), ("interval", span(snapshot.interval)), ("keep", number(snapshot.keep))]
}

fn http(http: &Http) -> Vec<Said> {
    vec![
        ("listen", text(http.listen)),
        ("web_config_file", http.web_config_file.as_ref().and_then(|path| text(path.display()))),
        ("publish_interval", span(http.publish_interval)),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    fn settings(text: &str) -> Settings {
        parse("", text, Path::new("/etc/churnwatch"), [], &[]).unwrap()
    }

    #[test]
    fn what_is_printed_reads_back_as_it_was() {
        let all = "[kafka]\nbrokers = ['a:1', 'b:2']\ntopics = ['t', 'u']\nworkers = 3\nframing = 'bare'\ndead_letter_topic = 'd'\n\
                   librdkafka.'sasl.username' = 'x\"y'\nlibrdkafka.'session.timeout.ms' = 45000\n[windows]\nlengths = ['1h', '90d']\n\
                   [[dimensions]]\nname = 'plan'\nattribute = 'plan_code'\nvalue = 'first'\n[[groupings]]\nby = ['plan', 'signup_month']\n\
                   [[groupings]]\nby = ['plan']\n[lifecycle]\ninactivity_timeout = '90d'\n[time]\nclock = 'event'\nzone = 'Europe/Berlin'\n\
                   complete_since = 2026-01-01T00:00:00Z\n[snapshot]\nstore = 's3://bucket/pre%20fix'\n[http]\nweb_config_file = 'web.yml'\n";
        for text in ["", "[snapshot]\nstore = 'file:///a%25b'\n[kafka]\non_rejected = 'fail'", all] {
            let printed = effective_toml(&settings(text));
            assert_eq!(effective_toml(&settings(&printed)), printed, "{text}");
            assert_eq!(format!("{:?}", settings(&printed)), format!("{:?}", settings(text)), "{printed}");
        }
    }

    #[test]
    fn every_key_of_the_schema_is_there() {
        let printed = effective_toml(&Settings::default());
        for section in SECTIONS.iter().filter(|section| !section.repeated) {
            for key in section.keys.iter().filter(|key| key.name != LIBRDKAFKA) {
                let is_of_key = |line: &&str| {
                    [format!("{} =", key.name), format!("# {}:", key.name)].iter().any(|k| line.starts_with(k))
                };
                assert_eq!(printed.lines().filter(is_of_key).count(), 1, "{}.{} in {printed}", section.name, key.name);
            }
        }
    }

    #[test]
    fn secrets_are_left_out() {
        let printed =
            effective_toml(&settings("[kafka.librdkafka]\nsasl.password = 'hunter2'\nsasl.username = 'ann'\n"));
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("\"sasl.password\" = \"<redacted>\"\n\"sasl.username\" = \"ann\"\n"), "{printed}");
    }
}
