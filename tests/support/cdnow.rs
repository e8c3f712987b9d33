//! The CDNOW purchases as events; see the fixture's README.

use churnwatch::proto::{Activity, LifecycleEvent, lifecycle_event::Event};
use jiff::civil::Date;

/// A part of the data set, in its original lines.
pub const SAMPLE: &str = include_str!("../fixtures/cdnow/sample.txt");

/// That a customer bought something on a day.
#[derive(Clone, Debug)]
pub struct Purchase {
    pub customer: String,
    pub day: Date,
}

/// Reads `master.txt`, or `sample.txt`, which has one column more: the customer comes first and the day last but
/// two. A line of column names is none.
pub fn parse(text: &str) -> Vec<Purchase> {
    let mut purchases = Vec::new();
    for line in text.lines() {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [customer, .., day, _number, _amount] = columns.as_slice() else { panic!("not a purchase: {line}") };
        if customer.parse::<u32>().is_ok() {
            let day = Date::strptime("%Y%m%d", day).unwrap_or_else(|error| panic!("{line}: {error}"));
            purchases.push(Purchase { customer: (*customer).to_owned(), day });
        }
    }
    purchases
}

impl Purchase {
    /// A sign of life at midnight.
    pub fn event(&self) -> LifecycleEvent {
        LifecycleEvent {
            customer_id: self.customer.clone(),
            event_time: Some(pbjson_types::Timestamp { seconds: 86_400 * self.day_number(), nanos: 0 }),
            event: Some(Event::Activity(Activity {})),
            ..Default::default()
        }
    }

    /// Days since 1970.
    pub fn day_number(&self) -> i64 {
        i64::from((self.day - Date::constant(1970, 1, 1)).get_days())
    }
}
