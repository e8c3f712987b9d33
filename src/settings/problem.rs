//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

use super::librdkafka::is_secret;
use super::schema::{LIBRDKAFKA, SECTIONS};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    /// Bytes of the configuration file.
    File(Range<usize>),
    /// The variable's name.
    Environment(String),
    /// The flag, with its dashes.
    Flag(&'static str),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub message: String,
    pub remedy: Option<String>,
    pub origin: Origin,
}

impl Problem {
    pub fn new(origin: &Origin, message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, origin: origin.clone() }
    }

    fn span(&self) -> Option<&Range<usize>> {
        match &self.origin {
            Origin::File(span) => Some(span),
            _ => None,
        }
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// A configuration that cannot be used: everything found wrong with it.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable { path: PathBuf, cause: io::Error },
    /// What the file, the environment and the flags say together.
    Invalid(Invalid),
}

/// The problems of a configuration, in the order of the file.
pub struct Invalid {
    file: String,
    text: String,
    /// Bytes of which a report shows no line: all, or those that may hold secrets under any name.
    hidden: Vec<Range<usize>>,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn invalid(file: &str, text: &str, problems: Vec<Problem>) -> Self {
        let hidden = client_properties(text);
        let mut text = redact(text);
        for range in &hidden {
            text.replace_range(range.clone(), &stars(&text[range.clone()]));
        }
        Self::of(file, text, hidden, problems)
    }

    /// Of a file of which no line is shown, as it may hold secrets anywhere.
    pub(super) fn without_lines(file: &str, text: &str, problems: Vec<Problem>) -> Self {
        Self::of(file, text.to_owned(), std::iter::once(0..usize::MAX).collect(), problems)
    }

    fn of(file: &str, text: String, hidden: Vec<Range<usize>>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| match &p.origin {
            Origin::File(span) => (0, span.start),
            _ => (1, 0),
        });
        // One mistake found twice, by two checks of the same value, is one problem.
        problems.dedup();
        Self::Invalid(Invalid { file: file.to_owned(), text, hidden, problems })
    }

    /// One remark about settings that are valid in themselves, without a place.
    pub(crate) fn remark(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::invalid("", "", vec![Problem::new(&Origin::Default, message).remedy(remedy)])
    }

    /// The problems with the lines they are in, for a terminal. The text ends with a line feed.
    pub fn report(&self, colour: bool) -> String {
        let Self::Invalid(invalid) = self else { return format!("{self}\n") };
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_context_lines(1).with_width(120);
        let mut out = String::new();
        for problem in &invalid.problems {
            let Some(span) = problem.span().filter(|span| invalid.shows(span)) else {
                out += &invalid.line(problem);
                out.push('\n');
                continue;
            };
            let mut diagnostic =
                MietteDiagnostic::new(&problem.message).with_label(LabeledSpan::underline(span.clone()));
            if let Some(remedy) = &problem.remedy {
                diagnostic = diagnostic.with_help(remedy);
            }
            let source = NamedSource::new(&invalid.file, invalid.text.clone());
            let report = Report::new(diagnostic).with_source_code(source);
            if handler.render_report(&mut out, report.as_ref()).is_err() {
                out += &invalid.line(problem);
            }
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
        out
    }
}

/// Without the text, which may hold secrets.
impl fmt::Debug for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalid").field("file", &self.file).field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl Invalid {
    /// Whether a report may show the lines that these bytes are in.
    fn shows(&self, span: &Range<usize>) -> bool {
        !self.hidden.iter().any(|hidden| hidden.start <= span.end && span.start < hidden.end)
    }

    /// `file:line:column: message; remedy`.
    fn line(&self, problem: &Problem) -> String {
        let place = match &problem.origin {
            Origin::Default => String::new(),
            Origin::File(span) => {
                let (line, column) = position(&self.text, span.start);
                format!("{}:{line}:{column}: ", self.file)
            }
            Origin::Environment(name) => format!("environment variable {name}: "),
            Origin::Flag(flag) => format!("{flag}: "),
        };
        let remedy = problem.remedy.as_ref().map(|r| format!("; {r}")).unwrap_or_default();
        format!("{place}{}{remedy}", problem.message)
    }
}

/// One line a problem.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, cause } => {
                write!(f, "cannot read the configuration {}: {cause}", path.display())
            }
            Self::Invalid(invalid) => {
                let lines: Vec<_> = invalid.problems.iter().map(|p| invalid.line(p)).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The text with the values of secret properties starred out, byte for byte, so that spans still fit. It
/// works on lines, not on the parsed file: what fails to parse must not print a password either.
fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open_quote: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let secret_from = match open_quote {
            Some(_) => Some(0),
            None => secret_start(line),
        };
        let Some(start) = secret_from else {
            out += &without_userinfo(line);
            continue;
        };
        let (shown, hidden) = line.split_at(start);
        out += shown;
        out += &stars(hidden);
        open_quote = match open_quote {
            Some(quote) if hidden.contains(quote) => None,
            Some(quote) => Some(quote),
            None => [r#"""""#, "'''"].into_iter().find(|quote| hidden.matches(quote).count() == 1),
        };
    }
    out
}

/// Stars in place of everything but white space, byte for byte.
fn stars(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_whitespace() { b as char } else { '*' }).collect()
}

/// The lines that give properties of the Kafka client, in which a misspelt name, or a value in the wrong place, may be
/// a secret: from where the table is named to the next table. Lines, for the same reason as above.
fn client_properties(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut start, mut inside) = (0, false);
    for line in text.split_inclusive('\n') {
        let code = line.trim();
        let names_it = code.contains(LIBRDKAFKA) && !code.starts_with('#');
        // A list's line begins like that, too, but not with a section's name.
        let table = code.trim_start_matches('[').split([']', '.']).next().unwrap_or_default().trim();
        let is_table = code.starts_with('[') && SECTIONS.iter().any(|section| section.name == table);
        let end = start + line.len();
        if names_it || inside && !is_table {
            // The table's own line says nothing.
            let from = if names_it && is_table && code.ends_with(']') { end } else { start };
            match found.last_mut() {
                Some(last) if inside && last.end == start => last.end = end,
                _ => found.push(from..end),
            }
            inside = true;
        } else {
            inside = false;
        }
        start = end;
    }
    found
}

/// The text with what stands before `@` or behind `?` in a URL starred out, byte for byte.
pub(super) fn without_userinfo(text: &str) -> String {
    let Some(authority) = text.find("://").map(|i| i + 3) else { return text.to_owned() };
    let (scheme, rest) = text.split_at(authority);
    let end = rest.find(|c: char| c.is_whitespace() || "\"'".contains(c)).unwrap_or(rest.len());
    let (url, after) = rest.split_at(end);
    let (hidden, shown) = url.split_at(url.rfind('@').unwrap_or(0));
    let (shown, query) = shown.split_at(shown.find('?').map_or(shown.len(), |i| i + 1));
    format!("{scheme}{}{shown}{}{}", stars(hidden), stars(query), without_userinfo(after))
}

/// Where a line's secret begins: after the first equals sign that follows the name of a secret property.
fn secret_start(line: &str) -> Option<usize> {
    let ends = line.match_indices('=').map(|(i, _)| i);
    ends.into_iter().find(|&i| is_secret(&line[..i])).map(|i| i + 1)
}

/// The candidate most like `word`, if one is like it at all.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&folded, &c.to_lowercase()), c))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_starred_out_without_moving_anything() {
        let text = "a = 1\n\"sasl.password\" = \"gåra\" # x\nkey = { \"ssl.key.password\"='p' }\nb = 2\n";
        let redacted = redact(text);
        assert_eq!(redacted.len(), text.len());
        assert_eq!(redacted, "a = 1\n\"sasl.password\" = ******* * *\nkey = { \"ssl.key.password\"=*** *\nb = 2\n");
    }

    #[test]
    fn secrets_of_several_lines_are_starred_out_to_their_end() {
        let text = "ssl.key.pem = \"\"\"\nBEGIN\nEND\n\"\"\"\nb = 2\n";
        assert_eq!(redact(text), "ssl.key.pem = ***\n*****\n***\n***\nb = 2\n");
    }

    #[test]
    fn the_lines_of_the_clients_properties_are_told_in_any_form() {
        for (text, shown) in [
            ("a = 1\n[kafka.librdkafka]\nb = 2\n\n[windows]\nc = 3\n", "a = 1\n[kafka.librdkafka]\n[windows]\nc = 3\n"),
            ("[kafka]\nlibrdkafka.b = 2\nc = 3\n[[groupings]]\nd = 4\n", "[kafka]\n[[groupings]]\nd = 4\n"),
            ("[kafka]\nlibrdkafka = { b = '''\n[x]\n''' }\n[ windows ]\n", "[kafka]\n[ windows ]\n"),
            ("[kafka.librdkafka]\nb = [\n[\"c\"],\n[2]\n]\n[time]", "[kafka.librdkafka]\n[time]"),
            ("[kafka.librdkafka\nb = 2", ""),
            ("# librdkafka\na = 1\n", "# librdkafka\na = 1\n"),
        ] {
            let mut rest = text.to_owned();
            client_properties(text).into_iter().rev().for_each(|range| rest.replace_range(range, ""));
            assert_eq!(rest, shown, "{text}");
        }
    }

    #[test]
    fn what_a_url_carries_is_starred_out() {
        for (text, expected) in [
            (
                "store = \"s3://AKIA:se/c@ret@bucket/a\" # http://b?k=v",
                "store = \"s3://*************@bucket/a\" # http://b?***",
            ),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
            ("a@b ? c", "a@b ? c"),
        ] {
            assert_eq!(without_userinfo(text), expected);
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(position("a\nåb = 1", 4), (2, 2));
    }

    #[test]
    fn nearest_is_like_or_nothing() {
        assert_eq!(nearest("widnows", ["kafka", "windows"]), Some("windows"));
        assert_eq!(nearest("europe/berln", ["Europe/Berlin", "Europe/Bern"]), Some("Europe/Berlin"));
        assert_eq!(nearest("xyz", ["kafka", "windows"]), None);
    }
}
