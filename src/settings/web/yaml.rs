//! YAML as far as a web configuration needs it: one document of mappings, lists and scalars, each with its place.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::super::layers::{Entry, Node, Value};
use super::super::problem::{Origin, Problem};

/// Deeper than any schema that is read so.
const MAX_DEPTH: usize = 8;

/// The document; `None` where it is empty. Every scalar is text, null the empty one: what type it has, the schema says.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Problem> {
    let mut reader = Events { text, events: Parser::new_from_str(text) };
    let mut document = None;
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
            (Event::StreamEnd, _) => return Ok(document),
            (Event::DocumentStart(_), span) if document.is_some() => {
                return Err(reader.problem(span, "a second document").remedy("write one document"));
            }
            (Event::DocumentStart(_), _) => {
                let (event, span) = reader.next()?;
                let node = reader.node(event, span, 0)?;
                document = Some(node).filter(|node| !matches!(&node.value, Value::Text(text) if text.is_empty()));
            }
            (_, span) => return Err(reader.problem(span, "not YAML")),
        }
    }
}

struct Events<'a> {
    text: &'a str,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.unreadable(&error)),
            None => Err(Problem::new(&Origin::Default, "not YAML: it ends too early")),
        }
    }

    fn unreadable(&self, error: &ScanError) -> Problem {
        let start = self.byte(error.marker().index());
        Problem::new(&Origin::File(start..start), format!("not YAML: {}", error.info()))
    }

    fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        Problem::new(&self.origin(span), message)
    }

    fn origin(&self, span: Span) -> Origin {
        let bytes: Range<usize> = self.byte(span.start.index())..self.byte(span.end.index());
        Origin::File(bytes)
    }

    /// The parser counts characters.
    fn byte(&self, character: usize) -> usize {
        self.text.char_indices().nth(character).map_or(self.text.len(), |(byte, _)| byte)
    }

    /// The node that begins with the event.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem(span, "nested too deeply"));
        }
        let origin = self.origin(span);
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if ["", "~", "null", "Null", "NULL"].contains(&&*text) => {
                Value::Text(String::new())
            }
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => Value::List(self.items(depth)?),
            Event::MappingStart(..) => Value::Table(self.entries(depth)?),
            Event::Alias(_) => return Err(self.problem(span, "an alias").remedy("write the value itself")),
            _ => return Err(self.problem(span, "not YAML")),
        };
        Ok(Node { value, origin })
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        loop {
            let (key, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                (_, span) => return Err(self.problem(span, "a key that is no string")),
            };
            if seen.contains(&key) {
                return Err(self.problem(span, format!("`{key}` stands here twice")).remedy("remove one"));
            }
            seen.push(key.clone());
            let key_origin = self.origin(span);
            let (event, span) = self.next()?;
            entries.push(Entry { key, key_origin, node: self.node(event, span, depth + 1)? });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Text(text) => format!("{text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Value::Table(entries) => {
                let entries = entries.iter().map(|entry| format!("{}={}", entry.key, shown(&entry.node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
            other => panic!("{}", other.kind()),
        }
    }

    #[test]
    fn documents_become_nodes() {
        for (text, expected) in [
            ("a: 1\nb: [x, 'y']\nc:\n  d: true\n", r#"{a="1" b=["x" "y"] c={d="true"}}"#),
            ("a:\nb: ~\nc: ''\n", r#"{a="" b="" c=""}"#),
            ("key: |\n  one\n  two\n", r#"{key="one\ntwo\n"}"#),
            ("---\n{}\n", "{}"),
        ] {
            assert_eq!(shown(&parse(text).unwrap().unwrap()), expected, "{text}");
        }
        assert!(parse("").unwrap().is_none() && parse("# nothing\n").unwrap().is_none());
    }

    #[test]
    fn what_is_not_read_is_refused_where_it_stands() {
        for (text, byte, words) in [
            ("å: &x 1\nb: *x\n", 12, "an alias"),
            ("a: 1\na: 2\n", 5, "twice"),
            ("a: 1\n---\nb: 2\n", 5, "a second document"),
            ("? [a]\n: 1\n", 2, "a key that is no string"),
            ("a: [1\n", 6, "not YAML"),
            ("a: [[[[[[[[[[[]]]]]]]]]]]\n", 11, "nested too deeply"),
        ] {
            let problem = parse(text).map(|_| ()).unwrap_err();
            assert!(problem.message.contains(words), "{text}: {}", problem.message);
            let Origin::File(span) = &problem.origin else { panic!("{text}: no place") };
            assert_eq!(span.start, byte, "{text}");
        }
    }
}
