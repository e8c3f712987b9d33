//! Which values a customer has in a grouping's dimensions at an instant.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::values::Values;
use crate::cohort::{Definitions, DimensionRef, DimensionValue, Grouping, SignupPeriod};
use crate::history::ValueId;
use crate::history::timeline::Timeline;
use crate::readings::{CohortName, CohortReading};
use crate::time::Instant;

/// A grouping in terms of attribute slots.
#[derive(Clone, Debug)]
pub struct GroupingPlan {
    by: Vec<Answer>,
    /// From which grouping's cohorts its own are added up.
    pub finer: Option<Finer>,
    can_move: bool,
}

/// Another grouping, by the same dimensions and some more.
#[derive(Clone, Debug)]
pub struct Finer {
    pub grouping: usize,
    /// Where the coarser grouping's dimensions stand in this one.
    places: Vec<usize>,
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
        let plan = |grouping: &Grouping| Self {
            by: grouping.by.iter().map(answer).collect(),
            finer: Finer::find(grouping, &definitions.groupings),
            can_move: definitions.can_move(grouping),
        };
        definitions.groupings.iter().map(plan).collect()
    }

    /// Whether its tally counts a change of a customer, of one who moved or not.
    pub fn counts(&self, moved: bool) -> bool {
        self.finer.is_none() || (self.can_move && moved)
    }

    /// The places of the plans, in an order in which what is added up comes after what it is added up from.
    pub fn finest_first(plans: &[Self]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..plans.len()).collect();
        order.sort_by_key(|&grouping| Reverse(plans[grouping].by.len()));
        order
    }
}

impl Finer {
    /// The one with the fewest dimensions more, which as a rule has the fewest cohorts.
    fn find(grouping: &Grouping, all: &[Grouping]) -> Option<Self> {
        let places = |other: &Grouping| -> Option<Vec<usize>> {
            let place = |dimension| other.by.iter().position(|by| by == dimension);
            grouping.by.iter().map(place).collect()
        };
        let finer = all.iter().enumerate().filter(|(_, other)| other.by.len() > grouping.by.len());
        let finer = finer.filter_map(|(i, other)| Some((i, other.by.len(), places(other)?)));
        let (grouping, _, places) = finer.min_by_key(|&(_, len, _)| len)?;
        Some(Self { grouping, places })
    }

    /// The coarser grouping's cohorts: all but who moved between them.
    pub fn add_up(&self, cohorts: &BTreeMap<CohortName, CohortReading>) -> BTreeMap<CohortName, CohortReading> {
        let mut sums = BTreeMap::<CohortName, CohortReading>::new();
        for (name, reading) in cohorts {
            let name = self.places.iter().map(|&place| name[place].clone()).collect();
            sums.entry(name).or_default().add(reading);
        }
        for window in sums.values_mut().flat_map(|sum| &mut sum.windows) {
            (window.moved_in, window.moved_out) = (0, 0);
        }
        sums
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
