//! The table of metrics: its documentation, the page it makes, and what promtool says of that.

mod docs;
mod golden;
mod page;
pub mod promtool;
