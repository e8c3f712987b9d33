//! What is looked for on a page of metrics.

/// The value of a series.
pub fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// How many customers there are on a plan; 0 where no page says so.
pub fn on_plan(page: &str, plan: &str) -> u64 {
    value(page, &format!("churnwatch_customers{{cohort_by=\"plan\",plan=\"{plan}\"}}")).unwrap_or(0.0) as u64
}

/// How many records have been counted, whatever became of them.
pub fn records(page: &str) -> u64 {
    let counted = page.lines().filter(|line| line.starts_with("churnwatch_events_"));
    counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

/// How many series it has.
pub fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}
