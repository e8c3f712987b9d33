//! Reads published gauges back from their exposition text: the demo shows what a scrape would get.

use std::collections::HashMap;

/// The samples of an exposition text.
#[derive(Default)]
pub struct Page {
    samples: HashMap<Series, f64>,
}

/// A family's name and its labels, sorted.
type Series = (String, Vec<(String, String)>);

impl Page {
    /// Reads a text in format 0.0.4. A line that is no sample says nothing.
    pub fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(sample).collect() }
    }

    /// The value of a series, where it exists.
    pub fn value(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut labels: Vec<_> = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        labels.sort();
        self.samples.get(&(family.to_owned(), labels)).copied()
    }
}

fn sample(line: &str) -> Option<(Series, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let name_length = line.find(['{', ' '])?;
    let (family, mut rest) = line.split_at(name_length);
    let mut labels = Vec::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (name, value) = inside.split_once("=\"")?;
            let (value, behind) = quoted(value)?;
            labels.push((name.to_owned(), value));
            inside = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &inside[1..];
    }
    labels.sort();
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(((family.to_owned(), labels), value))
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_family_and_labels() {
        let page = Page::parse(concat!(
            "# HELP churnwatch_customers Customers now\n",
            "# TYPE churnwatch_customers gauge\n",
            "churnwatch_customers{cohort_by=\"everyone\"} 120\n",
            "churnwatch_churn_ratio{cohort_by=\"plan,region\",plan=\"a\\\"b\\\\,\\n\",region=\"eu\",window=\"7d\"} 0.125\n",
            "plain 1e3\n",
            "no value{a=\"b\n",
            "\n",
        ));
        assert_eq!(page.value("churnwatch_customers", &[("cohort_by", "everyone")]), Some(120.0));
        let labels = [("window", "7d"), ("plan", "a\"b\\,\n"), ("region", "eu"), ("cohort_by", "plan,region")];
        assert_eq!(page.value("churnwatch_churn_ratio", &labels), Some(0.125));
        assert_eq!(page.value("plain", &[]), Some(1000.0));
        assert_eq!(page.value("churnwatch_customers", &[]), None);
        assert_eq!(page.samples.len(), 3);
    }
}
