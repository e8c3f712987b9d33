//! The demo's table: what the published gauges say of every cohort, and which of them has a churn spike.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentLineStyle, LineStyle, Table, TableStyle, Width,
};

use super::market::{PLANS, REGIONS};
use super::page::Page;
use super::spike::{Churn, RULE, Watch};
use crate::time::{Instant, Span};

/// The grouping that the table shows.
pub const COHORT_BY: &str = "plan,region";
/// The labels of the windows that the table shows; a spike is looked for in the first.
pub const WINDOWS: [&str; 2] = ["7d", "30d"];
const SPIKE_WINDOW: Span = Span::days(7);

/// What has been published so far, as far as the table shows it.
pub struct Board {
    as_of: Option<Instant>,
    everyone: Row,
    cohorts: Vec<Cohort>,
}

struct Cohort {
    plan: &'static str,
    region: &'static str,
    row: Row,
    watch: Watch,
    spike: Option<Spike>,
    spiking: bool,
}

/// A line of numbers; `None` where there is no such gauge.
#[derive(Clone, Default)]
struct Row {
    customers: Option<f64>,
    /// By position in [`WINDOWS`].
    windows: [Option<Window>; WINDOWS.len()],
}

#[derive(Clone, Copy)]
struct Window {
    lost: f64,
    churn: Churn,
    retention: f64,
}

/// The churn spike of one cohort.
#[derive(Clone, Debug, PartialEq)]
pub struct Spike {
    /// The cohort's plan and region.
    pub cohort: [&'static str; 2],
    /// When it was first seen.
    pub since: Instant,
    pub peak_at: Instant,
    pub peak_ratio: f64,
    /// The churn of all other cohorts together at the peak.
    pub others_ratio: f64,
}

/// What stands above and below the numbers.
#[derive(Clone, Copy, Default)]
pub struct Margins<'a> {
    pub events_per_second: f64,
    pub url: &'a str,
    pub footer: &'a str,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// Nothing published yet.
    pub fn new() -> Self {
        let cohort = |plan, region| {
            let watch = Watch::new(SPIKE_WINDOW);
            Cohort { plan, region, row: Row::default(), watch, spike: None, spiking: false }
        };
        let cohorts = PLANS.iter().flat_map(|plan| REGIONS.iter().map(move |region| cohort(plan.name, region.name)));
        Self { as_of: None, everyone: Row::default(), cohorts: cohorts.collect() }
    }

    /// Takes in the gauges published as of an instant.
    pub fn update(&mut self, as_of: Instant, page: &Page) {
        self.as_of = Some(as_of);
        self.everyone = Row::read(page, &[("cohort_by", "everyone")]);
        for cohort in &mut self.cohorts {
            let labels = [("cohort_by", COHORT_BY), ("plan", cohort.plan), ("region", cohort.region)];
            cohort.row = Row::read(page, &labels);
        }
        for index in 0..self.cohorts.len() {
            let others_ratio = self.churn_of_all_but(index);
            self.cohorts[index].look_for_spike(as_of, others_ratio);
        }
    }

    /// The spikes seen so far.
    pub fn spikes(&self) -> impl Iterator<Item = &Spike> {
        self.cohorts.iter().filter_map(|cohort| cohort.spike.as_ref())
    }

    /// What became of everybody, and of those with a spike, in lines.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(customers) = self.everyone.customers {
            lines.push(format!("customers   {}", thousands(customers)));
        }
        for (index, cohort) in self.cohorts.iter().enumerate() {
            let (Some(spike), Some(window)) = (&cohort.spike, cohort.row.windows[0]) else { continue };
            lines.push(format!("spike       {}", spike.describe().trim_start_matches("▲ ")));
            let (now, others) = (percent(window.churn.ratio), percent(self.churn_of_all_but(index)));
            lines.push(format!("            {} churn in the end: {now}, all others {others}", WINDOWS[0]));
        }
        lines
    }

    /// The churn in the first window of all cohorts but one together.
    fn churn_of_all_but(&self, index: usize) -> f64 {
        let others = self.cohorts.iter().enumerate().filter(|&(i, _)| i != index);
        let windows = others.filter_map(|(_, cohort)| cohort.row.windows[0]);
        let (lost, start) = windows.fold((0.0, 0.0), |(lost, start), w| (lost + w.lost, start + w.churn.start));
        if start > 0.0 { lost / start } else { 0.0 }
    }

    /// The table with its margins, in lines of at most 80 characters.
    pub fn render(&self, margins: &Margins<'_>, styled: bool) -> String {
        let as_of = self.as_of.map_or_else(|| "–".to_owned(), |t| date(t, "%a %Y-%m-%d %H:%M"));
        let rate = thousands(margins.events_per_second);
        let mut text = emphasised(&format!("churnwatch demo   {as_of} (simulated)   {rate} events/s"), BOLD, styled);
        text += &format!("\n{}\n\n{}\n\n", margins.url, self.table(styled));
        for spike in self.spikes() {
            let line = spike.describe();
            text += &format!("{}\n", emphasised(&line, RED, styled));
        }
        text += &format!("{}\n", emphasised(&format!("▲ {RULE}"), DIM, styled));
        text += &format!("{}\n", emphasised(margins.footer, DIM, styled));
        text
    }

    fn table(&self, styled: bool) -> String {
        let mut table = Table::new();
        table.load_style(STYLE).force_no_tty();
        if styled {
            table.enforce_styling();
        }
        let [first, second] = WINDOWS;
        let mut header = vec!["cohort".to_owned(), "customers".to_owned()];
        for window in [first, second] {
            header.extend([format!("churn\n{window}"), format!("retention\n{window}")]);
        }
        header.push(String::new());
        table.set_header(header);
        table.add_row(self.everyone.cells("everyone", false));
        for cohort in &self.cohorts {
            table.add_row(cohort.row.cells(&format!("{} · {}", cohort.plan, cohort.region), cohort.spiking));
        }
        for column in 1..=5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        // As wide without a spike as with one.
        if let Some(mark) = table.column_mut(6) {
            mark.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(9)));
        }
        table.trim_fmt()
    }
}

impl Cohort {
    fn look_for_spike(&mut self, as_of: Instant, others_ratio: f64) {
        let Some(Window { churn, .. }) = self.row.windows[0] else {
            self.spiking = false;
            return;
        };
        self.spiking = self.watch.observe(as_of, churn);
        if !self.spiking {
            return;
        }
        let cohort = [self.plan, self.region];
        let now = Spike { cohort, since: as_of, peak_at: as_of, peak_ratio: churn.ratio, others_ratio };
        match &mut self.spike {
            None => self.spike = Some(now),
            Some(spike) if churn.ratio > spike.peak_ratio => *spike = Spike { since: spike.since, ..now },
            Some(_) => {}
        }
    }
}

impl Spike {
    /// The spike in one line.
    pub fn describe(&self) -> String {
        let [plan, region] = self.cohort;
        let (since, peak_at) = (date(self.since, "%F"), date(self.peak_at, "%F"));
        let (peak, others) = (percent(self.peak_ratio), percent(self.others_ratio));
        format!("▲ {plan} · {region} since {since}: {peak} on {peak_at}, all others then {others}")
    }
}

impl Row {
    fn read(page: &Page, labels: &[(&str, &str)]) -> Self {
        let window = |label: &str| {
            let labels: Vec<_> = labels.iter().copied().chain([("window", label)]).collect();
            let gauge = |name: &str| page.value(&format!("churnwatch_{name}"), &labels);
            Some(Window {
                lost: gauge("lost_customers")?,
                churn: Churn {
                    start: gauge("window_start_customers")?,
                    ratio: gauge("churn_ratio")?,
                    lower: gauge("churn_ratio_lower")?,
                    upper: gauge("churn_ratio_upper")?,
                },
                retention: gauge("retention_ratio")?,
            })
        };
        Self { customers: page.value("churnwatch_customers", labels), windows: WINDOWS.map(window) }
    }

    fn cells(&self, name: &str, spiking: bool) -> Vec<Cell> {
        let mut texts = vec![name.to_owned(), self.customers.map_or_else(absent, thousands)];
        for window in &self.windows {
            texts.push(window.map_or_else(absent, |w| percent(w.churn.ratio)));
            texts.push(window.map_or_else(absent, |w| percent(w.retention)));
        }
        texts.push(if spiking { "▲ spike".to_owned() } else { String::new() });
        let mark = |cell: Cell| if spiking { cell.fg(Color::Red).add_attribute(Attribute::Bold) } else { cell };
        texts.into_iter().map(|text| mark(Cell::new(text))).collect()
    }
}

const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction(' '))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .content_lines(ContentLineStyle::none().junction(' '));

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";

fn emphasised(text: &str, code: &str, styled: bool) -> String {
    if styled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn absent() -> String {
    "–".to_owned()
}

/// A ratio as a percentage.
pub fn percent(ratio: f64) -> String {
    format!("{:.1}%", ratio * 100.0)
}

/// A whole number with its thousands set off.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An instant in UTC.
pub fn date(at: Instant, format: &str) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(at.as_millis());
    timestamp.map_or_else(|_| at.to_string(), |timestamp| timestamp.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// A page on which every cohort has lost 1 % in both windows, and basic · eu as much as said in the first.
    fn page(basic_eu: f64) -> Page {
        let mut text = String::new();
        let mut write = |labels: &str, start: f64, churn: f64| {
            writeln!(text, "churnwatch_customers{{{labels}}} {start}").unwrap();
            for (window, churn) in [("7d", churn), ("30d", 0.01)] {
                for (name, value) in [
                    ("window_start_customers", start),
                    ("lost_customers", start * churn),
                    ("churn_ratio", churn),
                    ("churn_ratio_lower", churn * 0.8),
                    ("churn_ratio_upper", churn * 1.2),
                    ("retention_ratio", 1.0 - churn),
                ] {
                    writeln!(text, "churnwatch_{name}{{{labels},window=\"{window}\"}} {value}").unwrap();
                }
            }
        };
        write("cohort_by=\"everyone\"", 12_345.0, 0.01);
        for plan in ["basic", "plus", "business"] {
            for region in ["eu", "us", "apac"] {
                let churn = if (plan, region) == ("basic", "eu") { basic_eu } else { 0.01 };
                write(&format!("cohort_by=\"plan,region\",plan=\"{plan}\",region=\"{region}\""), 1_000.0, churn);
            }
        }
        Page::parse(&text)
    }

    fn day(n: i64) -> Instant {
        Instant::parse_rfc3339("2026-01-05T00:00:00Z").unwrap() + Span::days(n)
    }

    /// Two quiet weeks, then a spike of two days in basic · eu.
    fn spiking_board() -> Board {
        let mut board = Board::new();
        for n in 0..15 {
            board.update(day(n), &page(0.01));
            assert_eq!(board.spikes().count(), 0);
        }
        board.update(day(15), &page(0.12));
        board.update(day(16), &page(0.15));
        board.update(day(17), &page(0.14));
        board
    }

    const MARGINS: Margins<'static> =
        Margins { events_per_second: 1712.4, url: "http://localhost:8642/metrics", footer: "Ctrl-C ends the demo." };

    #[test]
    fn the_table_shows_every_cohort_and_marks_the_spike() {
        let text = spiking_board().render(&MARGINS, false);
        let expected = "
churnwatch demo   Thu 2026-01-22 00:00 (simulated)   1,712 events/s
http://localhost:8642/metrics

 cohort            customers   churn   retention   churn   retention
                                  7d          7d     30d         30d
───────────────────────────────────────────────────────────────────────────────
 everyone             12,345    1.0%       99.0%    1.0%       99.0%
 basic · eu            1,000   14.0%       86.0%    1.0%       99.0%   ▲ spike
 basic · us            1,000    1.0%       99.0%    1.0%       99.0%
 basic · apac          1,000    1.0%       99.0%    1.0%       99.0%
 plus · eu             1,000    1.0%       99.0%    1.0%       99.0%
 plus · us             1,000    1.0%       99.0%    1.0%       99.0%
 plus · apac           1,000    1.0%       99.0%    1.0%       99.0%
 business · eu         1,000    1.0%       99.0%    1.0%       99.0%
 business · us         1,000    1.0%       99.0%    1.0%       99.0%
 business · apac       1,000    1.0%       99.0%    1.0%       99.0%

▲ basic · eu since 2026-01-20: 15.0% on 2026-01-21, all others then 1.0%
▲ spike: 7d churn's lower 95% bound above 1.5 times its usual upper bound
Ctrl-C ends the demo.
";
        assert_eq!(text, &expected[1..]);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_spike_that_is_over_is_remembered_and_not_marked() {
        let mut board = spiking_board();
        board.update(day(24), &page(0.01));
        let text = board.render(&MARGINS, false);
        assert!(!text.contains("▲ spike\n") && text.contains("▲ basic · eu since 2026-01-20"), "{text}");
    }

    #[test]
    fn the_summary_compares_the_spike_with_the_others() {
        let expected = [
            "customers   12,345",
            "spike       basic · eu since 2026-01-20: 15.0% on 2026-01-21, all others then 1.0%",
            "            7d churn in the end: 14.0%, all others 1.0%",
        ];
        assert_eq!(spiking_board().summary(), expected);
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let board = spiking_board();
        let (plain, styled) = (board.render(&MARGINS, false), board.render(&MARGINS, true));
        assert!(!plain.contains('\x1b') && styled.contains('\x1b'));
        assert_eq!(console::strip_ansi_codes(&styled).replace(" \n", "\n"), plain.replace(" \n", "\n"));
    }

    #[test]
    fn what_is_not_published_is_not_shown() {
        let mut board = Board::new();
        board.update(day(0), &Page::parse("churnwatch_customers{cohort_by=\"everyone\"} 3\n"));
        let text = board.render(&MARGINS, false);
        let everyone = text.lines().find(|line| line.starts_with(" everyone")).unwrap();
        assert_eq!(everyone.split_whitespace().collect::<Vec<_>>(), ["everyone", "3", "–", "–", "–", "–"]);
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0.0, 999.0, 1_000.0, 1_234_567.4].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.0746, 1.0].map(percent), ["0.0%", "7.5%", "100.0%"]);
    }
}
