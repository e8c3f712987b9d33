//! Exposition text 0.0.4 from a recorder that lives as long as the page: a series exists for as long as
//! something sets it, which the exporter's own recorder, kept, could not do.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Key, KeyName, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::table::{Family, Type, families};

/// A label's name and value.
pub type Label = (Arc<str>, Arc<str>);

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A page of gauges in the making.
pub struct Exposition {
    recorder: PrometheusRecorder,
}

impl Default for Exposition {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        families().for_each(|family| describe(&recorder, family));
        Self { recorder }
    }
}

impl Exposition {
    /// Sets the gauge of the family with these labels.
    pub fn set(&self, family: &Family, labels: &[Label], value: f64) {
        debug_assert!(value.is_finite(), "{} is {value}", family.name);
        self.recorder.register_gauge(&key(family, labels), &METADATA).set(value);
    }

    /// The text: families in the order of the table, series sorted by label values.
    pub fn render(&self) -> String {
        in_table_order(&self.recorder.handle().render())
    }
}

/// Tells the recorder a family's HELP text.
pub(crate) fn describe(recorder: &PrometheusRecorder, family: &Family) {
    let (name, help) = (KeyName::from_const_str(family.name), family.help.into());
    match family.kind() {
        Type::Counter => recorder.describe_counter(name, None, help),
        Type::Gauge => recorder.describe_gauge(name, None, help),
        Type::Histogram => recorder.describe_histogram(name, None, help),
    }
}

/// The recorder's key of one series.
pub(crate) fn key(family: &Family, labels: &[Label]) -> Key {
    let label = |(name, value): &Label| metrics::Label::new(name.clone(), escaped_once(value));
    Key::from_parts(family.name, labels.iter().map(label).collect::<Vec<_>>())
}

/// The exporter takes a pair of backslashes for one that is escaped already, and so writes `\` and `\\`
/// alike; given pairs only, it writes what was meant.
fn escaped_once(value: &Arc<str>) -> Arc<str> {
    if value.contains('\\') { value.replace('\\', r"\\").into() } else { value.clone() }
}

/// Rearranges the exporter's text, which is in the random order of its hash maps.
pub(crate) fn in_table_order(rendered: &str) -> String {
    let position: HashMap<&str, usize> = families().enumerate().map(|(i, family)| (family.name, i)).collect();
    // A blank line ends a family, and line feeds inside of one are escaped.
    let mut families: Vec<(usize, &str)> = rendered
        .split("\n\n")
        .filter(|family| !family.is_empty())
        .map(|family| (position.get(name(family)).copied().unwrap_or(usize::MAX), family))
        .collect();
    families.sort_by_key(|(position, _)| *position);

    let mut text = String::with_capacity(rendered.len());
    for (_, family) in families {
        let mut push = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        let (comments, mut series): (Vec<_>, Vec<_>) = family.lines().partition(|line| line.starts_with('#'));
        comments.iter().for_each(|line| push(line));
        // A histogram has one series, whose buckets are in order as they are.
        if !comments.iter().any(|line| line.ends_with(" histogram")) {
            series.sort_by_cached_key(|line| label_values(line));
        }
        series.iter().for_each(|line| push(line));
    }
    text
}

/// The name in the comments at the head of a family: `# HELP name …`.
fn name(family: &str) -> &str {
    family.split(' ').nth(2).unwrap_or_default()
}

/// The unescaped label values of a line `name{label="value",…} 1`.
fn label_values(line: &str) -> Vec<Cow<'_, str>> {
    let mut values = Vec::new();
    let mut rest = line;
    while let Some((_, value)) = rest.split_once('"') {
        let end = end_of_value(value);
        values.push(unescaped(&value[..end]));
        rest = &value[end + 1..];
    }
    values
}

/// Where the closing quote is.
fn end_of_value(text: &str) -> usize {
    let mut is_escaped = false;
    let is_end = |byte: u8| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    };
    text.bytes().position(is_end).expect("the exporter closes its quotes")
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
            c => text.push(c),
        }
    }
    text.into()
}
