//! A case as somebody would tell it who wants to understand a failure.

use std::collections::BTreeMap;
use std::fmt;

use churnwatch::cohort::Definitions;
use churnwatch::proto::{LifecycleEvent, Money, lifecycle_event::Event as Payload};

use super::generate::{Case, Entry, Step};

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shards, as_ofs, steps, key, beyond_horizon, .. } = self;
        writeln!(f, "definitions: {}", Told(&self.definitions))?;
        if steps.iter().any(|(_, step)| matches!(step, Step::Reconfigure)) {
            writeln!(f, "reconfigured: {}", Told(&self.reconfigured))?;
        }
        writeln!(f, "{shards} shards, key {key:?}, beyond the horizon: {beyond_horizon}")?;
        for (i, Entry { message, moments }) in self.log.iter().enumerate() {
            writeln!(f, "event {i}: {}, delivered at {moments:?}", tell(message))?;
        }
        for (moment, step) in steps {
            match step {
                Step::Advance(i, t) => writeln!(f, "at {moment} advance shard {} to {t}", i.index(*shards))?,
                Step::Restore(i) => writeln!(f, "at {moment} restore shard {}", i.index(*shards))?,
                Step::Fold(i) => writeln!(f, "at {moment} fold shard {}", i.index(*shards))?,
                Step::Reconfigure | Step::Compare => writeln!(f, "at {moment} {step:?}")?,
            }
        }
        write!(f, "deliver the rest; as of {as_ofs:?}")
    }
}

struct Told<'a>(&'a Definitions);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.0;
        let windows: Vec<_> = d.windows.iter().map(|w| format!("{}={}ms", w.label, w.length.as_millis())).collect();
        let groupings: Vec<_> = d.groupings.iter().map(|g| d.cohort_by(g)).collect();
        write!(f, "step {} ms, windows {}, by {groupings:?}, ", d.grid.step().as_millis(), windows.join(" "))?;
        write!(f, "{:?}, zone {:?}, complete since {:?}, ", d.lifecycle, d.zone.iana_name(), d.complete_since)?;
        write!(f, "at most {} cohorts", d.max_cohorts)
    }
}

fn tell(message: &LifecycleEvent) -> String {
    let at = |t: &Option<pbjson_types::Timestamp>| match t {
        None => "-".to_owned(),
        Some(t) => match jiff::Timestamp::new(t.seconds, t.nanos) {
            Ok(t) => t.to_string(),
            Err(_) => format!("{}s{}ns", t.seconds, t.nanos),
        },
    };
    let money = |m: &Option<Money>| {
        m.as_ref().map_or(String::new(), |m| format!(" {} {} minor", m.currency_code, m.minor_units))
    };
    let what = match &message.event {
        None => "nothing".to_owned(),
        Some(Payload::Started(s)) => {
            let trial = if s.trial { " trial" } else { "" };
            format!("started{trial}{} until {}", money(&s.recurring_amount), at(&s.term_end_time))
        }
        Some(Payload::Renewed(r)) => format!("renewed until {}", at(&r.term_end_time)),
        Some(Payload::Changed(c)) => format!("changed{}", money(&c.recurring_amount)),
        Some(Payload::Activity(_)) => "activity".to_owned(),
        Some(Payload::Ended(e)) => format!("ended reason {} effective {}", e.reason, at(&e.effective_time)),
    };
    let (customer, subscription) = (&message.customer_id, &message.subscription_id);
    let attributes: BTreeMap<_, _> = message.attributes.iter().filter(|(name, _)| *name != "unused").collect();
    let time = at(&message.event_time);
    format!("{time} {customer}/{subscription} seq {} {what} {attributes:?}", message.sequence)
}
