//! Which values a customer has in a grouping's dimensions at an instant.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::values::Values;
use crate::cohort::{Definitions, DimensionRef, DimensionValue, SignupPeriod};
use crate::history::ValueId;
use crate::history::timeline::Timeline;
use crate::time::Instant;

/// A grouping in terms of attribute slots.
#[derive(Clone, Debug)]
pub struct GroupingPlan {
    by: Vec<Answer>,
}

/// Where a dimension's value comes from.
#[derive(Clone, Copy, Debug)]
enum Answer {
    InForce { slot: usize },
    Earliest { slot: usize },
    Signup(SignupPeriod),
}

/// The attributes that dimensions ask for, sorted: an attribute's place is its slot in histories.
pub fn attributes(definitions: &Definitions) -> Vec<String> {
    let mut attributes: Vec<String> = definitions.dimensions.iter().map(|d| d.attribute.clone()).collect();
    attributes.sort_unstable();
    attributes.dedup();
    attributes
}

impl GroupingPlan {
    pub fn all(definitions: &Definitions, attributes: &[String]) -> Vec<Self> {
        let answer = |dimension: &DimensionRef| match dimension {
            DimensionRef::Signup(period) => Answer::Signup(*period),
            DimensionRef::Declared(i) => {
                let dimension = &definitions.dimensions[*i];
                let slot = attributes.partition_point(|a| *a < dimension.attribute);
                match dimension.value {
                    DimensionValue::Window => Answer::InForce { slot },
                    DimensionValue::First => Answer::Earliest { slot },
                }
            }
        };
        definitions.groupings.iter().map(|grouping| Self { by: grouping.by.iter().map(answer).collect() }).collect()
    }
}

/// Names cohorts, dating signups in a time zone.
pub struct Dimensions {
    zone: TimeZone,
    /// The last value of each period: neighbours in time mostly share it.
    signups: [Option<(Date, ValueId)>; SignupPeriod::ALL.len()],
    name: Vec<ValueId>,
}

impl Dimensions {
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, signups: Default::default(), name: Vec::new() }
    }

    /// The values of a grouping's dimensions during a piece of a timeline.
    pub fn name(&mut self, plan: &GroupingPlan, timeline: &Timeline, piece: usize, values: &mut Values) -> &[ValueId] {
        self.name.clear();
        for answer in &plan.by {
            let value = match answer {
                Answer::InForce { slot } => timeline.value(piece, *slot),
                Answer::Earliest { slot } => timeline.earliest_value(*slot),
                Answer::Signup(period) => {
                    let first_active = timeline.first_active.unwrap_or(Instant::EARLIEST_EVENT);
                    self.signup(*period, first_active, values)
                }
            };
            self.name.push(value);
        }
        &self.name
    }

    fn signup(&mut self, period: SignupPeriod, first_active: Instant, values: &mut Values) -> ValueId {
        let date = first_active.to_civil(&self.zone).date();
        match self.signups[period as usize] {
            Some((last, value)) if last == date => value,
            _ => {
                let value = values.intern(&period.value(date));
                self.signups[period as usize] = Some((date, value));
                value
            }
        }
    }
}
