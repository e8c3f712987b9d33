//! A scenario as text, one statement a line; `#` begins a comment.
//!
//! ```text
//! scenario Two of three stay                 a new, empty world; what follows is said in order of arrival
//! step 1d                                    settings first; 1h, one window of 30d, UTC, and no timeout,
//! windows 7d 30d                             grace, dimension or grouping unless they say otherwise
//! inactivity 90d
//! grace 3d
//! zone Europe/Berlin
//! max cohorts 10
//! complete since 2025-01-01
//! dimension plan                             value in force at the instant
//! dimension first_plan = plan first          another attribute's name; the earliest value, always
//! grouping plan,signup_month
//! 2026-01-01 a1..3 started EUR 5.00 until 2026-03-01 plan=basic       customers a1, a2, a3
//! 2026-01-02T10:30 a1/tv started trial                                the subscription `tv`
//! 2026-01-03 a1 ended cancelled effective 2026-01-23 seq 2
//! 2026-01-04 a1 activity                     also: renewed until TIME, changed EUR 7.00
//! as of 2026-02-01                           then what the page says, never earlier than the last
//! expect churn_ratio{window="7d"} 1/3        by everyone, unless dimensions or `cohort_by` are named
//! expect churn_ratio 33.333%                 rounded
//! expect no moved_in_customers               no series of the family with these labels
//! ```

use std::path::Path;

use churnwatch::cohort::{
    Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, SignupPeriod, Window,
};
use churnwatch::event::{Currency, EndReason};
use churnwatch::proto::{self, Activity, Changed, Ended, LifecycleEvent, Renewed, Started, lifecycle_event::Event};
use churnwatch::time::{Grid, Instant, Span};
use jiff::tz::TimeZone;

use crate::model::generate::timestamp;
use crate::model::page::{Page, Series, close, series};

pub struct Scenario {
    pub title: String,
    pub definitions: Definitions,
    /// With their numbers in the file.
    pub lines: Vec<(usize, Line)>,
}

pub enum Line {
    Events(Vec<LifecycleEvent>),
    AsOf(Instant),
    Expect(Expectation),
}

pub struct Expectation {
    series: Series,
    value: Option<Value>,
}

#[derive(Debug)]
enum Value {
    Exactly(f64),
    /// And half a unit of the last digit given.
    About(f64, f64),
}

impl Expectation {
    /// What the page says instead, if it does.
    pub fn failure(&self, page: &Page) -> Option<String> {
        let found = page.select(&self.series);
        let holds = match (&self.value, found.as_slice()) {
            (None, []) => true,
            (Some(Value::Exactly(want)), [(_, is)]) => close(*want, *is),
            (Some(Value::About(want, error)), [(_, is)]) => (want - is).abs() <= *error,
            _ => false,
        };
        (!holds).then(|| format!("{:?} should be {:?}, the page has {found:?}", self.series, self.value))
    }
}

type Parsed<T> = Result<T, String>;

/// The scenarios of a file.
pub fn read(path: &Path) -> Vec<Scenario> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let parsed = match (line.strip_prefix("scenario "), scenarios.last_mut()) {
            (Some(title), _) => {
                scenarios.push(Scenario { title: title.trim().to_owned(), definitions: defaults(), lines: Vec::new() });
                Ok(())
            }
            _ if line.is_empty() => Ok(()),
            (None, Some(scenario)) => scenario.take(line, i + 1),
            (None, None) => Err("a file begins with a scenario".to_owned()),
        };
        parsed.unwrap_or_else(|wrong| panic!("{}:{}: {wrong}: {line}", path.display(), i + 1));
    }
    for scenario in &scenarios {
        let says_nothing = !scenario.lines.iter().any(|(_, line)| matches!(line, Line::Expect(_)));
        assert!(!says_nothing, "{}: “{}” expects nothing", path.display(), scenario.title);
    }
    scenarios
}

pub fn defaults() -> Definitions {
    Definitions {
        grid: Grid::new(Span::HOUR).expect("at least a minute"),
        windows: vec![Window { label: "30d".to_owned(), length: Span::days(30) }],
        dimensions: Vec::new(),
        groupings: vec![Grouping::default()],
        lifecycle: Lifecycle::default(),
        zone: TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1000,
    }
}

impl Scenario {
    fn take(&mut self, line: &str, number: usize) -> Parsed<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let statement = match words.as_slice() {
            ["as", "of", time] => Line::AsOf(instant(time)?),
            ["expect", ..] => {
                if !self.lines.iter().any(|(_, line)| matches!(line, Line::AsOf(_))) {
                    return Err("as of when?".to_owned());
                }
                Line::Expect(expectation(line)?)
            }
            [first, ..] if first.starts_with(|c: char| c.is_ascii_digit()) => Line::Events(events(&words)?),
            _ if !self.lines.is_empty() => return Err("settings come first, and this is nothing else".to_owned()),
            setting => return self.set(setting),
        };
        self.lines.push((number, statement));
        Ok(())
    }

    fn set(&mut self, words: &[&str]) -> Parsed<()> {
        let definitions = &mut self.definitions;
        match *words {
            ["step", step] => definitions.grid = Grid::new(span(step)?).ok_or("too fine")?,
            ["windows", ref lengths @ ..] => {
                let window = |label: &&str| Ok(Window { label: (*label).to_owned(), length: span(label)? });
                definitions.windows = lengths.iter().map(window).collect::<Parsed<_>>()?;
            }
            ["inactivity", timeout] => definitions.lifecycle.inactivity_timeout = Some(span(timeout)?),
            ["grace", period] => definitions.lifecycle.grace_period = span(period)?,
            ["zone", zone] => definitions.zone = TimeZone::get(zone).map_err(|error| error.to_string())?,
            ["max", "cohorts", max] => definitions.max_cohorts = number(max)?,
            ["complete", "since", time] => definitions.complete_since = Some(instant(time)?),
            ["dimension", name, ref rest @ ..] => {
                let (attribute, value) = match *rest {
                    [] => (name, DimensionValue::Window),
                    ["first"] => (name, DimensionValue::First),
                    ["=", attribute] => (attribute, DimensionValue::Window),
                    ["=", attribute, "first"] => (attribute, DimensionValue::First),
                    _ => return Err("not a dimension".to_owned()),
                };
                let (name, attribute) = (name.to_owned(), attribute.to_owned());
                definitions.dimensions.push(Dimension { name, attribute, value });
            }
            ["grouping", by] => {
                let by = by.split(',').map(|name| dimension(definitions, name)).collect::<Parsed<_>>()?;
                definitions.groupings.push(Grouping { by });
            }
            _ => return Err("not a statement".to_owned()),
        }
        Ok(())
    }
}

fn dimension(definitions: &Definitions, name: &str) -> Parsed<DimensionRef> {
    if let Some(period) = SignupPeriod::ALL.into_iter().find(|period| period.name() == name) {
        return Ok(DimensionRef::Signup(period));
    }
    let declared = definitions.dimensions.iter().position(|d| d.name == name);
    declared.map(DimensionRef::Declared).ok_or_else(|| format!("no dimension {name}"))
}

fn expectation(line: &str) -> Parsed<Expectation> {
    let text = line.trim_start_matches("expect").trim();
    let (text, absent) = match text.strip_prefix("no ") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (series, value) = series(text).ok_or("not a series")?;
    let value = match (absent, value.trim()) {
        (true, "") => None,
        (false, value) if !value.is_empty() => Some(self::value(value)?),
        _ => return Err("a value, or `no` and none".to_owned()),
    };
    Ok(Expectation { series, value })
}

fn value(text: &str) -> Parsed<Value> {
    if let Some(percent) = text.strip_suffix('%') {
        let digits = percent.split_once('.').map_or(0, |(_, digits)| digits.len());
        return Ok(Value::About(number::<f64>(percent)? / 100.0, 0.5 / 10_f64.powi(digits as i32 + 2)));
    }
    match text.split_once('/') {
        Some((numerator, denominator)) => Ok(Value::Exactly(number::<f64>(numerator)? / number::<f64>(denominator)?)),
        None => Ok(Value::Exactly(number(text)?)),
    }
}

/// One event for each customer named.
fn events(words: &[&str]) -> Parsed<Vec<LifecycleEvent>> {
    let [time, who, kind, rest @ ..] = words else { return Err("when, who, what?".to_owned()) };
    let (customer, subscription) = who.split_once('/').unwrap_or((who, ""));
    let mut event = LifecycleEvent {
        event_time: Some(timestamp(instant(time)?, 0)),
        subscription_id: subscription.to_owned(),
        ..LifecycleEvent::default()
    };
    let mut said = Said::default();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let mut next = || rest.next().ok_or_else(|| format!("{word} what?"));
        if let Some((name, value)) = word.split_once('=') {
            event.attributes.insert(name.to_owned(), value.to_owned());
        } else if let Some(reason) = EndReason::ALL.into_iter().find(|reason| reason.name() == *word) {
            said.reason = Some(reason as i32);
        } else {
            match *word {
                "trial" => said.trial = true,
                "until" => said.term_end = Some(timestamp(instant(next()?)?, 0)),
                "effective" => said.effective = Some(timestamp(instant(next()?)?, 0)),
                "seq" => event.sequence = number(next()?)?,
                code if code.len() == 3 => said.amount = Some(amount(code, next()?)?),
                _ => return Err(format!("what is {word}?")),
            }
        }
    }
    event.event = Some(said.event(kind)?);
    let customers = customers(customer)?.into_iter();
    Ok(customers.map(|customer_id| LifecycleEvent { customer_id, ..event.clone() }).collect())
}

/// What an event may say; taking out what a kind can say must leave nothing.
#[derive(Default, PartialEq)]
struct Said {
    amount: Option<proto::Money>,
    term_end: Option<pbjson_types::Timestamp>,
    effective: Option<pbjson_types::Timestamp>,
    reason: Option<i32>,
    trial: bool,
}

impl Said {
    fn event(mut self, kind: &str) -> Parsed<Event> {
        let event = match kind {
            "started" => Event::Started(Started {
                recurring_amount: self.amount.take(),
                term_end_time: self.term_end.take(),
                trial: std::mem::take(&mut self.trial),
            }),
            "renewed" => Event::Renewed(Renewed { term_end_time: self.term_end.take() }),
            "changed" => Event::Changed(Changed { recurring_amount: self.amount.take() }),
            "activity" => Event::Activity(Activity {}),
            "ended" => Event::Ended(Ended {
                reason: self.reason.take().unwrap_or_default(),
                effective_time: self.effective.take(),
            }),
            _ => return Err(format!("what is {kind}?")),
        };
        if self == Self::default() { Ok(event) } else { Err(format!("{kind} says no such thing")) }
    }
}

/// `alice` is one, `c1..107` are many.
fn customers(text: &str) -> Parsed<Vec<String>> {
    let Some((first, last)) = text.split_once("..") else { return Ok(vec![text.to_owned()]) };
    let name = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let (first, last): (u32, u32) = (number(&first[name.len()..])?, number(last)?);
    Ok((first..=last).map(|n| format!("{name}{n}")).collect())
}

fn amount(code: &str, major_units: &str) -> Parsed<proto::Money> {
    let exponent = Currency::from_code(code).map_or(2, Currency::exponent) as usize;
    let (whole, fraction) = major_units.split_once('.').unwrap_or((major_units, ""));
    if fraction.len() > exponent {
        return Err(format!("{code} has {exponent} decimal places"));
    }
    let minor_units = number(&format!("{whole}{fraction:0<exponent$}"))?;
    Ok(proto::Money { currency_code: code.to_owned(), minor_units })
}

fn instant(text: &str) -> Parsed<Instant> {
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ => text.to_owned(),
    };
    Instant::parse_rfc3339(&full).map_err(|error| error.to_string())
}

fn span(text: &str) -> Parsed<Span> {
    churnwatch::settings::duration::parse(text).map_err(|(what, remedy)| format!("{what}; {remedy}"))
}

fn number<T: std::str::FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
