//! Pages of metrics as numbers: their sum over instances, and whether it is whole.

use std::collections::BTreeMap;

use churnwatch::time::Instant;

/// Families that may not be added up over instances.
const NOT_ADDITIVE: [&str; 2] = ["churnwatch_window_complete", "churnwatch_folded_cohorts"];

/// Series of a page that add up over instances, by name and labels; money in hundredths.
pub type Counts = BTreeMap<String, i64>;

/// The additive series of the families of cohorts.
pub fn counts(page: &str, families: &[String]) -> Counts {
    let mut counts = Counts::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let family = series.split('{').next().unwrap_or_default();
        if families.iter().any(|f| f == family) {
            counts.insert(series.to_owned(), hundredths(value));
        }
    }
    counts
}

/// The families on a page of cohorts whose series add up.
pub fn additive_families(page: &str) -> Vec<String> {
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let additive = names.filter(|name| !NOT_ADDITIVE.contains(name) && !name.contains("_ratio"));
    additive.map(str::to_owned).collect()
}

fn hundredths(value: &str) -> i64 {
    (value.parse::<f64>().unwrap() * 100.0).round() as i64
}

/// What all pages say together.
pub struct Union {
    pub counts: Counts,
    /// Why the sum is not that of the whole log; `None` where it must be.
    pub partial: Option<String>,
}

/// Adds up the pages of all instances; whole where every partition is published by one instance, as of the same
/// instant, and nothing is left to read.
pub fn union(pages: &[String], families: &[String], partitions: usize, as_of: Instant) -> Union {
    let mut sum = Counts::new();
    let mut published: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut partial, mut read) = (None, 0);
    for page in pages {
        let mut owns = false;
        for line in page.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            if series.starts_with("churnwatch_partition_published{") && value == "1" {
                owns = true;
                *published.entry(series).or_default() += 1;
            }
            if series.starts_with("churnwatch_kafka_consumer_lag{") {
                match value {
                    "0" => read += 1,
                    _ => partial = Some(format!("not read: {line}")),
                }
            }
        }
        let at = value(page, "churnwatch_as_of_timestamp_seconds");
        if owns && at != Some(as_of.as_millis() as f64 / 1_000.0) {
            partial = Some(format!("as of {at:?}, not {as_of}"));
        }
        for (series, value) in counts(page, families) {
            *sum.entry(series).or_default() += value;
        }
    }
    if read != partitions {
        partial = partial.or_else(|| Some(format!("{read} of {partitions} partitions known to be read")));
    }
    let once = published.values().filter(|&&times| times == 1).count();
    if once != partitions || published.len() != partitions {
        let twice: Vec<_> = published.iter().filter(|(_, times)| **times > 1).collect();
        partial = Some(format!("{} of {partitions} partitions published, twice: {twice:?}", published.len()));
    }
    Union { counts: sum, partial }
}

/// The value of a series without labels.
pub fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// How numbers differ: the first series, and by how much others are below and above.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub first: String,
    pub lost: i64,
    pub double: i64,
}

/// `None` where all are equal.
pub fn difference(are: &Counts, should_be: &Counts) -> Option<Difference> {
    let (mut first, mut lost, mut double) = (None, 0, 0);
    let all: std::collections::BTreeSet<&String> = are.keys().chain(should_be.keys()).collect();
    for series in all {
        // A cohort that nobody is in may be told as 0 or not at all, instance by instance.
        let [is, should] = [are, should_be].map(|counts| counts.get(series).copied().unwrap_or(0));
        if is != should {
            first.get_or_insert_with(|| format!("{series} is {is}, should be {should} (hundredths)"));
            lost += (should - is).max(0);
            double += (is - should).max(0);
        }
    }
    first.map(|first| Difference { first, lost, double })
}

#[test]
fn what_is_lost_or_double_is_found() {
    let whole = "# TYPE churnwatch_customers gauge\n# TYPE churnwatch_churn_ratio gauge\n\
                 churnwatch_customers{plan=\"a\"} 3\nchurnwatch_customers{plan=\"b\"} 2\nchurnwatch_churn_ratio 0.5\n";
    let families = additive_families(whole);
    assert_eq!(families, ["churnwatch_customers"]);
    let page = |partition: u32, a: u32| {
        format!(
            "churnwatch_partition_published{{topic=\"t\",partition=\"{partition}\"}} 1\n\
             churnwatch_kafka_consumer_lag{{topic=\"t\",partition=\"{partition}\"}} 0\n\
             churnwatch_as_of_timestamp_seconds 7\nchurnwatch_customers{{plan=\"a\"}} {a}\n\
             churnwatch_customers{{plan=\"b\"}} 1\n"
        )
    };
    let seven = Instant::from_millis(7_000);
    let compared = |pages: &[String]| {
        let union = union(pages, &families, 2, seven);
        (union.partial.is_none(), difference(&union.counts, &counts(whole, &families)))
    };
    assert_eq!(compared(&[page(0, 1), page(1, 2)]), (true, None));
    let (whole_sum, difference) = compared(&[page(0, 1), page(1, 1)]);
    assert!(whole_sum && difference.is_some_and(|d| (d.lost, d.double) == (100, 0)));
    let (whole_sum, difference) = compared(&[page(0, 1), page(0, 1), page(1, 2)]);
    assert!(!whole_sum && difference.is_some_and(|d| (d.lost, d.double) == (0, 200)));
    assert!(!compared(&[page(0, 3)]).0);
}
