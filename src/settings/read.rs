//! From values as typed to values of the right type, collecting what is wrong instead of stopping at it.

use crate::time::{Instant, Span};

use super::duration;
use super::layers::{Layers, Node, Value};
use super::problem::{Origin, Problem, nearest};

/// The merged layers, and what was found wrong while reading them.
pub(super) struct Reader {
    pub layers: Layers,
}

/// A value with where it stands, for checks of several values against one another.
pub(super) struct At<T> {
    pub value: T,
    pub origin: Origin,
}

impl Reader {
    pub fn problem(&mut self, problem: Problem) {
        self.layers.problems.push(problem);
    }

    /// Notes a problem and yields nothing.
    pub fn wrong<T>(&mut self, origin: &Origin, message: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        self.problem(Problem::new(origin, message).remedy(remedy));
        None
    }

    /// The value of a key, where it has one.
    pub fn get(&self, section: &'static str, key: &'static str) -> Option<Node> {
        self.layers.values.get(&(section, key)).cloned()
    }

    /// Reads the value of a key that has a default.
    pub fn read<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        as_type: impl FnOnce(&mut Self, &str, &Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.get(section, key)?;
        as_type(self, &format!("{section}.{key}"), &node)
    }

    /// As [`Self::read`], of a key that may be absent: the outer `None` is a problem, the inner one absence.
    pub fn read_optional<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        as_type: impl FnOnce(&mut Self, &str, &Node) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.get(section, key) {
            None => Some(None),
            Some(node) => as_type(self, &format!("{section}.{key}"), &node).map(Some),
        }
    }

    fn mismatch<T>(&mut self, name: &str, node: &Node, expected: &str) -> Option<T> {
        self.wrong(&node.origin, format!("`{name}` is {}", node.value.kind()), expected)
    }

    pub fn text(&mut self, name: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) if text.trim().is_empty() => {
                self.wrong(&node.origin, format!("`{name}` is empty"), "write a value, or remove it for the default")
            }
            Value::Text(text) => Some(text.trim().to_owned()),
            _ => self.mismatch(name, node, "write a string, in quotation marks"),
        }
    }

    /// A list, or one item standing for a list of one.
    pub fn list<T>(
        &mut self,
        name: &str,
        node: &Node,
        mut item: impl FnMut(&mut Self, &str, &Node) -> Option<T>,
    ) -> Option<Vec<At<T>>> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        // Every item is read, also after a wrong one, so that every problem is named.
        let read: Vec<_> = items
            .iter()
            .map(|node| item(self, name, node).map(|value| At { value, origin: node.origin.clone() }))
            .collect();
        read.into_iter().collect()
    }

    /// A duration of at least `least`.
    pub fn span(&mut self, name: &str, node: &Node, least: Span) -> Option<Span> {
        let Value::Text(text) = &node.value else {
            return self.mismatch(name, node, duration::EXPECTED);
        };
        match duration::parse(text) {
            Err((message, remedy)) => self.wrong(&node.origin, format!("`{name}`: {message}"), remedy),
            Ok(span) if span < least => {
                let message = format!("`{name}` is {}", duration::display(span));
                self.wrong(&node.origin, message, format!("write {} or more", duration::display(least)))
            }
            Ok(span) => Some(span),
        }
    }

    /// A whole number, at least `least`.
    pub fn count(&mut self, name: &str, node: &Node, least: usize) -> Option<usize> {
        let (Value::Number(text) | Value::Text(text)) = &node.value else {
            return self.mismatch(name, node, "write a whole number");
        };
        match text.trim().parse() {
            Ok(n) if n >= least => Some(n),
            _ => {
                let remedy = format!("write a whole number of at least {least}");
                self.wrong(&node.origin, format!("`{name}` is {}", text.trim()), remedy)
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name, node)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let remedy = match nearest(&text, choices.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("write {}", words.join(" or ")),
        };
        self.wrong(&node.origin, format!("`{name}` is \"{text}\""), remedy)
    }

    /// A point in time with its offset from UTC, as a TOML date-time or as a string.
    pub fn instant(&mut self, name: &str, node: &Node) -> Option<Instant> {
        let (Value::Time(text) | Value::Text(text)) = &node.value else {
            return self.mismatch(name, node, "write a time such as 2026-01-01T00:00:00Z");
        };
        match Instant::parse_rfc3339(text.trim()) {
            Ok(instant) => Some(instant),
            Err(_) => {
                let message = format!("`{name}`: {text} is not a time with an offset from UTC");
                self.wrong(&node.origin, message, "write date, time and offset, such as 2026-01-01T00:00:00Z")
            }
        }
    }
}
