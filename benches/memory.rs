//! Resident bytes per customer and per cohort, by the code of the memory test.
//!
//! `BENCH_MEMORY_CUSTOMERS` sets how many customers there are (default ten million).

#[expect(dead_code, reason = "the test's own main")]
#[path = "../tests/memory.rs"]
mod memory;
mod support;

use support::figures::Figures;

fn main() {
    let customers = std::env::var("BENCH_MEMORY_CUSTOMERS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let told = std::env::var("MEMORY_CUSTOMERS").ok().and_then(|n| n.parse().ok());
    if memory::measures_a_row(told.unwrap_or(customers)) {
        return;
    }
    let mut figures = Figures::new("memory");
    for (row, (what, ..)) in memory::ROWS.iter().enumerate() {
        figures.push(*what, memory::in_a_process_of_its_own(row, customers), "bytes");
    }
    figures.finish();
}
