//! A believable population of subscribers, as a deterministic simulation.
//!
//! [`Population`] is an endless iterator over what happens to everybody, in the order in which it happens:
//! first the *book*, which is what a billing system knows of those who subscribed before [`OPENING`], then
//! life itself. Equal seeds give equal events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::customer::{Customer, Standing, ended};
use super::market::{
    CHANGE_PROBABILITY, CHANNELS, DUNNING, PLANS, RECOVERY_PROBABILITY, REGIONS, REGRET_PROBABILITY,
    RETURN_PROBABILITY, SIGNUPS_A_DAY, SPIKE_LENGTH, SPIKE_PLAN, SPIKE_PROBABILITY, SPIKE_REGION,
    TRIAL_CONVERTS_PROBABILITY, TRIAL_LENGTH, TRIAL_PROBABILITY, UPGRADE_PROBABILITY, YEARLY_CANCELS_FACTOR,
    YEARLY_CANCELS_WITHIN, YEARLY_SHARE, draw_between, draw_by_share, draw_span, next_in_rhythm,
};
use crate::proto::lifecycle_event::Event;
use crate::proto::{Activity, EndReason, LifecycleEvent};
use crate::time::{Instant, Span};

/// Monday, 2025-11-24T00:00Z: the book ends and life begins.
pub const OPENING: Instant = Instant::from_millis(1_763_942_400_000);
/// Monday, 2026-01-05T00:00Z: six weeks later, when every window of the demo has been full for a week.
pub const LIVE: Instant = Instant::from_millis(1_767_571_200_000);
/// Tuesday, 2026-01-20T00:00Z: the churn spike begins.
pub const SPIKE: Instant = Instant::from_millis(1_768_867_200_000);

/// The cohort that the spike hits: plan and region.
pub const SPIKE_COHORT: [&str; 2] = [PLANS[SPIKE_PLAN].name, REGIONS[SPIKE_REGION].name];

/// Everybody, and what is going to happen to them.
pub struct Population {
    rng: ChaCha8Rng,
    customers: Vec<Customer>,
    agenda: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    events: u64,
    signups_a_day: f64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Instant,
    /// Settles ties in the order of planning.
    number: u64,
    customer: usize,
    episode: u32,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Of the book: the subscription begins.
    Open,
    /// Of the book: the term begins that is in force at the opening.
    CarryOver,
    /// Somebody new signs up.
    SignUp,
    TrialEnds,
    TermEnds,
    PaymentSucceeds,
    PaymentIsGivenUp,
    Cancel,
    Regret,
    ChangePlan,
    Use,
    ComeBack,
    SpikeBegins,
    LeaveInSpike,
}

impl Population {
    /// A population that has about `customers` subscribers from the opening on and grows slowly.
    pub fn new(seed: u64, customers: usize) -> Self {
        let mut population = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            customers: Vec::with_capacity(customers * 5 / 4),
            agenda: BinaryHeap::new(),
            entries: 0,
            events: 0,
            signups_a_day: SIGNUPS_A_DAY * customers.max(1) as f64,
        };
        for _ in 0..customers {
            population.add_to_book();
        }
        for region in 0..REGIONS.len() {
            population.plan_signup(region, OPENING);
        }
        population.plan(SPIKE, 0, Step::SpikeBegins);
        population
    }

    fn plan(&mut self, at: Instant, customer: usize, step: Step) {
        let episode = self.customers.get(customer).map_or(0, |c| c.episode);
        self.entries += 1;
        self.agenda.push(Reverse(Entry { at, number: self.entries, customer, episode, step }));
    }

    fn plan_signup(&mut self, region: usize, now: Instant) {
        let a_day = self.signups_a_day * f64::from(REGIONS[region].share) / 100.0;
        let mean_gap = Span::from_millis((Span::DAY.as_millis() as f64 / a_day) as i64);
        let at = next_in_rhythm(&mut self.rng, now, mean_gap, region);
        let newcomer = self.add_customer(region);
        self.plan(at, newcomer, Step::SignUp);
    }

    fn add_customer(&mut self, region: usize) -> usize {
        let rng = &mut self.rng;
        let plan = draw_by_share(rng, PLANS.iter().map(|p| p.share));
        let channel = draw_by_share(rng, CHANNELS.iter().map(|c| c.1));
        let term_months = if rng.random_ratio(YEARLY_SHARE, 100) { 12 } else { 1 };
        self.customers.push(Customer::outside(plan, region, channel, term_months));
        self.customers.len() - 1
    }

    /// Adds somebody who subscribed up to two years before the opening and still does.
    fn add_to_book(&mut self) {
        let region = draw_by_share(&mut self.rng, REGIONS.iter().map(|r| r.share));
        let id = self.add_customer(region);
        let age = draw_span(&mut self.rng, Span::days(700));
        let joined = next_in_rhythm(&mut self.rng, OPENING - age - Span::days(14), Span::DAY, region);
        let customer = &mut self.customers[id];
        // A draw from the rhythm has no upper limit; the book has.
        customer.anchor = joined.min(OPENING - Span::HOUR);
        while customer.term_end() <= OPENING {
            customer.terms += 1;
        }
        let (joined, term_start) = (customer.anchor, customer.term_start());
        self.plan(joined, id, Step::Open);
        if term_start > joined {
            self.plan(term_start, id, Step::CarryOver);
        }
    }

    /// Plans what happens in the term that has just begun.
    fn begin_term(&mut self, id: usize, now: Instant) {
        let customer = &mut self.customers[id];
        customer.standing = Standing::Subscribed;
        let (plan, term_end, yearly) = (&PLANS[customer.plan], customer.term_end(), customer.term_months == 12);
        self.plan(term_end, id, Step::TermEnds);
        let cancels = plan.cancels * if yearly { YEARLY_CANCELS_FACTOR } else { 1.0 };
        if self.rng.random_bool(cancels) {
            let earliest = if yearly { now.max(term_end - YEARLY_CANCELS_WITHIN) } else { now };
            let at = draw_between(&mut self.rng, earliest, term_end);
            self.plan(at, id, Step::Cancel);
        }
        let changes = CHANGE_PROBABILITY * if yearly { 12.0 } else { 1.0 };
        if self.rng.random_bool(changes) {
            let at = draw_between(&mut self.rng, now, term_end);
            self.plan(at, id, Step::ChangePlan);
        }
    }

    /// Usage is on record from [`LIVE`] on: a billing system, from which the weeks before come, knows of none.
    fn plan_use(&mut self, id: usize, now: Instant) {
        let customer = &self.customers[id];
        let mean_gap = Span::days(7).as_millis() as f64 / PLANS[customer.plan].uses_per_week;
        let at = next_in_rhythm(&mut self.rng, now.max(LIVE), Span::from_millis(mean_gap as i64), customer.region);
        self.plan(at, id, Step::Use);
    }

    /// A subscription begins, again or for the first time, and is paid for.
    fn subscribe(&mut self, id: usize, now: Instant) -> Event {
        let customer = &mut self.customers[id];
        customer.episode += 1;
        customer.anchor = now;
        customer.terms = 0;
        let event = customer.started(Some(customer.term_end()), false);
        self.begin_term(id, now);
        self.plan_use(id, now);
        event
    }

    fn renew(&mut self, id: usize, now: Instant) -> Event {
        let customer = &mut self.customers[id];
        customer.terms += 1;
        let event = customer.renewed();
        self.begin_term(id, now);
        event
    }

    /// A subscription is over. Some come back.
    fn leave(&mut self, id: usize, now: Instant) {
        let customer = &mut self.customers[id];
        customer.standing = Standing::Outside;
        customer.episode += 1;
        let region = customer.region;
        if self.rng.random_bool(RETURN_PROBABILITY) {
            let earliest = now + Span::days(4) + draw_span(&mut self.rng, Span::days(50));
            let at = next_in_rhythm(&mut self.rng, earliest, Span::DAY, region);
            self.plan(at, id, Step::ComeBack);
        }
    }

    /// Does what was planned, and says what the world gets to know of it.
    fn perform(&mut self, step: Step, id: usize, now: Instant) -> Option<Event> {
        let standing = self.customers[id].standing;
        let can_decide = standing == Standing::Subscribed;
        match step {
            Step::Open => Some(self.open(id)),
            Step::CarryOver => Some(self.carry_over(id)),
            Step::SignUp => Some(self.sign_up(id, now)),
            Step::TrialEnds => Some(self.end_trial(id, now)),
            Step::TermEnds => self.end_term(id, now),
            Step::PaymentSucceeds => Some(self.renew(id, now)),
            Step::PaymentIsGivenUp => {
                self.leave(id, now);
                Some(ended(EndReason::PaymentFailed, None))
            }
            Step::Cancel => can_decide.then(|| self.cancel(id, now)),
            Step::Regret => {
                self.customers[id].standing = Standing::Subscribed;
                Some(self.customers[id].renewed())
            }
            Step::ChangePlan => can_decide.then(|| self.change_plan(id)),
            Step::Use => {
                self.plan_use(id, now);
                Some(Event::Activity(Activity {}))
            }
            Step::ComeBack => Some(self.subscribe(id, now)),
            Step::SpikeBegins => {
                self.begin_spike();
                None
            }
            Step::LeaveInSpike => self.customers[id].is_in_spike_cohort().then(|| self.leave_in_spike(id, now)),
        }
    }

    fn open(&mut self, id: usize) -> Event {
        let customer = &self.customers[id];
        if customer.terms > 0 {
            // The terms between are not in the book: open-ended until the one that is.
            return customer.started(None, false);
        }
        let event = customer.started(Some(customer.term_end()), false);
        self.enter_life(id);
        event
    }

    fn carry_over(&mut self, id: usize) -> Event {
        let event = self.customers[id].renewed();
        self.enter_life(id);
        event
    }

    fn enter_life(&mut self, id: usize) {
        self.begin_term(id, OPENING);
        self.plan_use(id, OPENING);
    }

    fn sign_up(&mut self, id: usize, now: Instant) -> Event {
        self.plan_signup(self.customers[id].region, now);
        if !self.rng.random_bool(TRIAL_PROBABILITY) {
            return self.subscribe(id, now);
        }
        let customer = &mut self.customers[id];
        customer.standing = Standing::Trial;
        let event = customer.started(Some(now + TRIAL_LENGTH), true);
        self.plan(now + TRIAL_LENGTH, id, Step::TrialEnds);
        self.plan_use(id, now);
        event
    }

    fn end_trial(&mut self, id: usize, now: Instant) -> Event {
        if self.rng.random_bool(TRIAL_CONVERTS_PROBABILITY) {
            return self.subscribe(id, now);
        }
        let customer = &mut self.customers[id];
        customer.standing = Standing::Outside;
        customer.episode += 1;
        ended(EndReason::NotRenewed, None)
    }

    fn end_term(&mut self, id: usize, now: Instant) -> Option<Event> {
        if self.customers[id].standing == Standing::Leaving {
            self.leave(id, now);
            return None;
        }
        if !self.rng.random_bool(PLANS[self.customers[id].plan].payment_fails) {
            return Some(self.renew(id, now));
        }
        self.customers[id].standing = Standing::Dunning;
        if self.rng.random_bool(RECOVERY_PROBABILITY) {
            let at = now + Span::HOUR + draw_span(&mut self.rng, DUNNING);
            self.plan(at, id, Step::PaymentSucceeds);
        } else {
            self.plan(now + DUNNING, id, Step::PaymentIsGivenUp);
        }
        None
    }

    fn cancel(&mut self, id: usize, now: Instant) -> Event {
        let customer = &mut self.customers[id];
        customer.standing = Standing::Leaving;
        let term_end = customer.term_end();
        if self.rng.random_bool(REGRET_PROBABILITY) {
            let at = draw_between(&mut self.rng, now, term_end);
            self.plan(at, id, Step::Regret);
        }
        let reasons = [(EndReason::Cancelled, 70), (EndReason::SwitchedProvider, 20), (EndReason::AccountDeleted, 10)];
        let reason = reasons[draw_by_share(&mut self.rng, reasons.iter().map(|r| r.1))].0;
        ended(reason, Some(term_end))
    }

    fn change_plan(&mut self, id: usize) -> Event {
        let customer = &mut self.customers[id];
        let up = match customer.plan {
            0 => true,
            plan if plan + 1 == PLANS.len() => false,
            _ => self.rng.random_bool(UPGRADE_PROBABILITY),
        };
        customer.plan = if up { customer.plan + 1 } else { customer.plan - 1 };
        customer.changed()
    }

    fn begin_spike(&mut self) {
        for id in 0..self.customers.len() {
            if self.customers[id].is_in_spike_cohort() && self.rng.random_bool(SPIKE_PROBABILITY) {
                let at = SPIKE + draw_span(&mut self.rng, SPIKE_LENGTH);
                self.plan(at, id, Step::LeaveInSpike);
            }
        }
    }

    fn leave_in_spike(&mut self, id: usize, now: Instant) -> Event {
        self.leave(id, now);
        let reasons = [(EndReason::PaymentFailed, 55), (EndReason::Cancelled, 30), (EndReason::SwitchedProvider, 15)];
        ended(reasons[draw_by_share(&mut self.rng, reasons.iter().map(|r| r.1))].0, None)
    }
}

impl Iterator for Population {
    type Item = LifecycleEvent;

    fn next(&mut self) -> Option<LifecycleEvent> {
        loop {
            let Reverse(Entry { at, customer: id, episode, step, .. }) = self.agenda.pop()?;
            if step != Step::SpikeBegins && self.customers[id].episode != episode {
                continue;
            }
            if let Some(event) = self.perform(step, id, at) {
                self.events += 1;
                return Some(self.customers[id].message(self.events, id, at, event));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    use prost::Message;

    use super::*;
    use crate::decode;
    use crate::demo::delivery::event_time;

    /// The events up to an instant.
    fn events(seed: u64, customers: usize, until: Instant) -> Vec<LifecycleEvent> {
        Population::new(seed, customers).take_while(|event| event_time(event) < until).collect()
    }

    /// Who leaves when, from which plan and region, by the plainest reading of the events.
    #[derive(Default)]
    struct Ledger {
        cohorts: HashMap<String, [String; 2]>,
        /// Paying customers, and the instant from which each is gone where that is known.
        paying: HashMap<String, Option<Instant>>,
    }

    impl Ledger {
        fn enter(&mut self, event: &LifecycleEvent) {
            let id = event.customer_id.clone();
            let cohort = self.cohorts.entry(id.clone()).or_default();
            for (value, name) in cohort.iter_mut().zip(["plan", "region"]) {
                if let Some(said) = event.attributes.get(name) {
                    value.clone_from(said);
                }
            }
            match event.event.as_ref().unwrap() {
                Event::Started(started) if !started.trial => _ = self.paying.insert(id, None),
                Event::Renewed(_) => _ = self.paying.insert(id, None),
                Event::Ended(ended) => {
                    let now = event_time(event);
                    let effective = ended.effective_time.as_ref();
                    let gone = effective.map_or(now, |t| Instant::from_millis(t.seconds * 1000).max(now));
                    if let Some(since) = self.paying.get_mut(&id) {
                        *since = Some(gone);
                    }
                }
                _ => {}
            }
        }

        /// Customers and those gone, by cohort, as of an instant.
        fn count(&self, as_of: Instant) -> BTreeMap<[String; 2], [usize; 2]> {
            let mut counts = BTreeMap::<_, [usize; 2]>::new();
            for (id, gone) in &self.paying {
                let there = gone.is_none_or(|gone| gone > as_of);
                counts.entry(self.cohorts[id].clone()).or_default()[usize::from(!there)] += 1;
            }
            counts
        }
    }

    /// The part of each cohort that was there at `from` and is gone at `to`.
    fn churn(events: &[LifecycleEvent], from: Instant, to: Instant) -> BTreeMap<[String; 2], f64> {
        let mut ledger = Ledger::default();
        let mut events = events.iter().peekable();
        while let Some(event) = events.next_if(|event| event_time(event) <= from) {
            ledger.enter(event);
        }
        ledger.paying.retain(|_, gone| gone.is_none_or(|gone| gone > from));
        let there: BTreeSet<_> = ledger.paying.keys().cloned().collect();
        let cohorts = ledger.cohorts.clone();
        for event in events.take_while(|event| event_time(event) <= to) {
            ledger.enter(event);
        }
        ledger.paying.retain(|id, _| there.contains(id));
        ledger.cohorts = cohorts;
        ledger
            .count(to)
            .into_iter()
            .map(|(cohort, [there, gone])| (cohort, gone as f64 / (there + gone) as f64))
            .collect()
    }

    #[test]
    fn a_seed_repeats_the_population_bit_for_bit() {
        let bytes = |seed| -> Vec<u8> {
            Population::new(seed, 300).take(20_000).flat_map(|event| event.encode_length_delimited_to_vec()).collect()
        };
        let once = bytes(1);
        assert_eq!(once, bytes(1));
        assert_ne!(once, bytes(2));
    }

    #[test]
    fn every_event_is_valid_in_order_and_of_a_named_customer() {
        let events = events(3, 400, LIVE + Span::days(30));
        assert!(events.is_sorted_by_key(event_time));
        for event in &events {
            assert!(decode::validate(event, None).is_ok(), "{event:?}");
            let digits = event.customer_id.strip_prefix("cust-").unwrap();
            assert!(digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit()), "{}", event.customer_id);
        }
        let book = events.iter().take_while(|event| event_time(event) < OPENING);
        let opened: BTreeSet<_> = book.map(|event| &event.customer_id).collect();
        assert_eq!(opened.len(), 400);
    }

    #[test]
    fn everything_that_can_happen_to_a_subscriber_happens() {
        let mut seen = BTreeMap::<String, usize>::new();
        for event in events(4, 2_000, LIVE + Span::days(30)) {
            let name = match event.event.unwrap() {
                Event::Started(started) if started.trial => "trial".to_owned(),
                Event::Started(_) => "started".to_owned(),
                Event::Renewed(_) => "renewed".to_owned(),
                Event::Changed(_) => "changed".to_owned(),
                Event::Activity(_) => "activity".to_owned(),
                Event::Ended(ended) => format!("ended {:?}", EndReason::try_from(ended.reason).unwrap()),
            };
            *seen.entry(name).or_default() += 1;
        }
        let names: Vec<_> = seen.keys().map(String::as_str).collect();
        let expected = [
            "activity",
            "changed",
            "ended AccountDeleted",
            "ended Cancelled",
            "ended NotRenewed",
            "ended PaymentFailed",
            "ended SwitchedProvider",
            "renewed",
            "started",
            "trial",
        ];
        assert_eq!(names, expected, "{seen:?}");
        assert!(seen["activity"] > seen["renewed"], "{seen:?}");
    }

    #[test]
    fn some_come_back_after_leaving_and_some_before_it_takes_effect() {
        let mut ledger = Ledger::default();
        let (mut returned, mut regretted) = (0, 0);
        for event in events(5, 2_000, LIVE + Span::days(30)) {
            let before = ledger.paying.get(&event.customer_id).copied().flatten();
            match (before, event.event.as_ref().unwrap()) {
                (Some(gone), Event::Started(_)) if gone <= event_time(&event) => returned += 1,
                (Some(gone), Event::Renewed(_)) if gone > event_time(&event) => regretted += 1,
                _ => {}
            }
            ledger.enter(&event);
        }
        assert!(returned > 5 && regretted > 5, "{returned} came back, {regretted} regretted");
    }

    #[test]
    fn base_churn_is_three_to_five_percent_a_month_and_dearer_plans_keep_more() {
        let events = events(6, 20_000, SPIKE);
        let churn = churn(&events, SPIKE - Span::days(30), SPIKE);
        let of_plan = |plan: &str| churn.iter().filter(|(c, _)| c[0] == plan).map(|(_, r)| r).sum::<f64>() / 3.0;
        let [basic, plus, business] = ["basic", "plus", "business"].map(of_plan);
        assert!((0.04..0.06).contains(&basic), "{churn:?}");
        assert!((0.028..0.042).contains(&plus), "{churn:?}");
        assert!((0.012..0.03).contains(&business), "{churn:?}");
    }

    #[test]
    fn the_population_grows_slowly() {
        let mut ledger = Ledger::default();
        let mut customers = Vec::new();
        let mut next = OPENING;
        for event in events(7, 5_000, LIVE + Span::days(60)) {
            if event_time(&event) >= next {
                customers.push(ledger.count(next).values().map(|[there, _]| there).sum::<usize>());
                next = next + Span::days(30);
            }
            ledger.enter(&event);
        }
        assert_eq!(customers[0], 5_000);
        // The spike, in the second month, costs about a twenty-fifth.
        let [_, first_month, _, third_month] = customers[..] else { panic!("{customers:?}") };
        assert!((5_050..5_300).contains(&first_month) && (4_950..5_400).contains(&third_month), "{customers:?}");
    }

    #[test]
    fn the_spike_is_in_its_cohort_alone() {
        let events = events(8, 5_000, SPIKE + SPIKE_LENGTH);
        let week = Span::days(7);
        let (before, after) = (SPIKE - week, SPIKE + SPIKE_LENGTH);
        let (quiet, spike) = (churn(&events, before, SPIKE), churn(&events, after - week, after));
        for (cohort, &ratio) in &spike {
            if *cohort == SPIKE_COHORT {
                assert!((0.13..0.24).contains(&ratio) && quiet[cohort] < 0.03, "{quiet:?} {spike:?}");
            } else {
                assert!(ratio < 0.05, "{cohort:?}: {spike:?}");
            }
        }
    }
}
