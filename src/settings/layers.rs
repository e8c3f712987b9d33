//! What was typed: defaults, file, environment and flags laid over one another, each value with its origin.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Override;
use super::problem::{Origin, Problem, nearest};
use super::schema::{LIBRDKAFKA, SECTIONS, Section, section, variable};

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
}

/// A value as typed.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Number(String),
    Bool(bool),
    Time(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub node: Node,
}

impl Value {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Time(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The layers merged: what was typed last, and most specifically, holds.
#[derive(Default)]
pub(super) struct Layers {
    /// By section and key.
    pub values: BTreeMap<(&'static str, &'static str), Node>,
    /// The lists of `[[tables]]`, by section.
    pub repeated: BTreeMap<&'static str, Node>,
    /// Properties of the Kafka client, by name; the origin of the name beside each.
    pub properties: BTreeMap<String, (Origin, Node)>,
    pub problems: Vec<Problem>,
}

impl Layers {
    /// The defaults of the table of keys.
    pub fn defaults() -> Self {
        let mut layers = Self::default();
        for section in SECTIONS.iter().filter(|s| !s.repeated) {
            for key in section.keys {
                let Some(text) = key.default else { continue };
                match DeValue::parse(text) {
                    Ok(value) => {
                        let node = node(&value, &|_| Origin::Default);
                        layers.values.insert((section.name, key.name), node);
                    }
                    Err(e) => layers.problems.push(Problem::new(&Origin::Default, e.message())),
                }
            }
        }
        layers
    }

    /// Lays a file over what is there. Nothing of it is taken where it is not TOML.
    pub fn file(&mut self, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let at = |e: &toml::de::Error| Origin::File(e.span().unwrap_or(0..0));
            self.problems.extend(errors.iter().map(|e| Problem::new(&at(e), format!("not TOML: {}", e.message()))));
            return;
        }
        for entry in entries(table.get_ref(), &Origin::File) {
            self.section(entry);
        }
    }

    fn section(&mut self, entry: Entry) {
        let Some(section) = section(&entry.key) else {
            self.problems.push(unknown_section(&entry));
            return;
        };
        match (section.repeated, entry.node.value) {
            (true, value @ Value::List(_)) => {
                self.repeated.insert(section.name, Node { value, origin: entry.node.origin });
            }
            (true, value) => {
                let what = format!("`{}` is {}, and must be a list of tables", section.name, value.kind());
                let remedy = format!("write [[{}]], with two brackets", section.name);
                self.problems.push(Problem::new(&entry.key_origin, what).remedy(remedy));
            }
            (false, Value::Table(keys)) => keys.into_iter().for_each(|key| self.key(section, key)),
            (false, value) => {
                let what = format!("`{}` is {}, and must be a table", section.name, value.kind());
                self.problems.push(Problem::new(&entry.key_origin, what).remedy(format!("write [{}]", section.name)));
            }
        }
    }

    fn key(&mut self, section: &'static Section, entry: Entry) {
        if section.name == "kafka" && entry.key == LIBRDKAFKA {
            match entry.node.value {
                Value::Table(properties) => self.properties("", properties),
                value => {
                    let what = format!("`kafka.librdkafka` is {}, and must be a table", value.kind());
                    self.problems.push(Problem::new(&entry.key_origin, what).remedy("write [kafka.librdkafka]"));
                }
            }
            return;
        }
        match section.keys.iter().find(|k| k.name == entry.key) {
            Some(key) => {
                self.values.insert((section.name, key.name), entry.node);
            }
            None => self.problems.push(unknown_key(section, &entry)),
        }
    }

    /// Takes in properties. Unquoted, `sasl.username = "x"` is a table in a table; so is its name joined again.
    fn properties(&mut self, prefix: &str, entries: Vec<Entry>) {
        for entry in entries {
            let name = format!("{prefix}{}", entry.key);
            match entry.node.value {
                Value::Table(inner) if !is_file_reference(&inner) => self.properties(&format!("{name}."), inner),
                value => {
                    let node = Node { value, origin: entry.node.origin };
                    self.properties.insert(name, (entry.key_origin, node));
                }
            }
        }
    }

    /// Lays the variables `CHURNWATCH__SECTION__KEY` over what is there; other variables are not ours.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> =
            variables.into_iter().filter(|(name, _)| name.starts_with("CHURNWATCH__")).collect();
        variables.sort();
        for (name, text) in variables {
            self.variable(&name, text);
        }
    }

    fn variable(&mut self, name: &str, text: String) {
        let origin = Origin::Environment(name.to_owned());
        let path: Vec<_> = name.split("__").skip(1).map(str::to_lowercase).collect();
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let found = path.first().and_then(|name| section(name));
        match (found, path.as_slice()) {
            (Some(section), [_]) if section.repeated => {
                if let Some(node) = self.toml(&origin, &text) {
                    self.repeated.insert(section.name, node);
                }
            }
            (Some(section), ["kafka", LIBRDKAFKA, property]) if section.name == "kafka" => {
                // A variable's name has no dots in most shells.
                let name = if *property == "log_level" { (*property).to_owned() } else { property.replace('_', ".") };
                self.properties.insert(name, (origin.clone(), Node { value: Value::Text(text), origin }));
            }
            (Some(section), [_, key]) if !section.repeated && *key != LIBRDKAFKA => {
                let Some(key) = section.keys.iter().find(|k| k.name == *key) else {
                    self.problems.push(unknown_variable(&origin, name));
                    return;
                };
                let node = if !key.is_list() {
                    Some(Node { value: Value::Text(text), origin })
                } else if text.trim_start().starts_with('[') {
                    self.toml(&origin, &text)
                } else {
                    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                    Some(list(items.map(str::to_owned), &origin))
                };
                if let Some(node) = node {
                    self.values.insert((section.name, key.name), node);
                }
            }
            _ => self.problems.push(unknown_variable(&origin, name)),
        }
    }

    fn toml(&mut self, origin: &Origin, text: &str) -> Option<Node> {
        match DeValue::parse(text) {
            Ok(value) => Some(node(&value, &|_| origin.clone())),
            Err(e) => {
                self.problems.push(Problem::new(origin, format!("not a TOML value: {}", e.message())));
                None
            }
        }
    }

    /// Lays the flags over what is there.
    pub fn flags(&mut self, overrides: &[Override]) {
        for o in overrides {
            let origin = Origin::Flag(o.flag);
            let place = SECTIONS.iter().find_map(|s| {
                let key = o.key.strip_prefix(s.name)?.strip_prefix('.')?;
                s.keys.iter().find(|k| k.name == key).map(|k| (s, k))
            });
            let Some((section, key)) = place else {
                self.problems.push(Problem::new(&origin, format!("no setting is called `{}`", o.key)));
                continue;
            };
            let node = match o.values.as_slice() {
                [text] if !key.is_list() => Node { value: Value::Text(text.clone()), origin },
                values => list(values.iter().cloned(), &origin),
            };
            self.values.insert((section.name, key.name), node);
        }
    }
}

fn list(items: impl Iterator<Item = String>, origin: &Origin) -> Node {
    let items = items.map(|text| Node { value: Value::Text(text), origin: origin.clone() });
    Node { value: Value::List(items.collect()), origin: origin.clone() }
}

fn is_file_reference(entries: &[Entry]) -> bool {
    matches!(entries, [entry] if entry.key == "file")
}

/// A parsed value as a node; `origin` makes one of the span.
fn node(value: &Spanned<DeValue<'_>>, origin: &dyn Fn(std::ops::Range<usize>) -> Origin) -> Node {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(time) => Value::Time(time.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, origin)).collect()),
        DeValue::Table(table) => Value::Table(entries(table, origin)),
    };
    Node { value: converted, origin: origin(value.span()) }
}

fn entries(table: &DeTable<'_>, origin: &dyn Fn(std::ops::Range<usize>) -> Origin) -> Vec<Entry> {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
        key: AsRef::<str>::as_ref(key.get_ref() as &std::borrow::Cow<'_, str>).to_owned(),
        key_origin: origin(key.span()),
        node: node(value, origin),
    };
    table.iter().map(entry).collect()
}

fn unknown_section(entry: &Entry) -> Problem {
    let problem = Problem::new(&entry.key_origin, format!("unknown section `{}`", entry.key));
    if let Some(home) = SECTIONS.iter().find(|s| s.keys.iter().any(|k| k.name == entry.key)) {
        return problem.remedy(format!("`{}` belongs in the section [{}]", entry.key, home.name));
    }
    match nearest(&entry.key, SECTIONS.iter().map(|s| s.name)) {
        Some(name) => problem.remedy(format!("did you mean `{name}`?")),
        None => problem.remedy(format!("the sections are {}", joined(SECTIONS.iter().map(|s| s.name)))),
    }
}

/// The problem of a key that the section does not have.
pub(super) fn unknown_key(section: &Section, entry: &Entry) -> Problem {
    let problem = Problem::new(&entry.key_origin, format!("unknown key `{}` in `{}`", entry.key, section.name));
    if let Some(name) = nearest(&entry.key, section.keys.iter().map(|k| k.name)) {
        return problem.remedy(format!("did you mean `{name}`?"));
    }
    if let Some(home) = SECTIONS.iter().find(|s| s.keys.iter().any(|k| k.name == entry.key)) {
        return problem.remedy(format!("`{}` belongs in the section [{}]", entry.key, home.name));
    }
    problem.remedy(format!("the keys of `{}` are {}", section.name, joined(section.keys.iter().map(|k| k.name))))
}

fn unknown_variable(origin: &Origin, name: &str) -> Problem {
    let known: Vec<String> = SECTIONS
        .iter()
        .flat_map(|s| match s.repeated {
            true => vec![format!("CHURNWATCH__{}", s.name.to_uppercase())],
            false => s.keys.iter().map(|k| variable(s.name, k.name)).collect(),
        })
        .collect();
    let problem = Problem::new(origin, "sets nothing that churnwatch knows");
    match nearest(name, known.iter().map(String::as_str)) {
        Some(known) => problem.remedy(format!("did you mean {known}?")),
        None => problem.remedy("variables are called CHURNWATCH__SECTION__KEY, with two underscores each"),
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
