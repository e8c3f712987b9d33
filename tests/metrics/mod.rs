mod docs;
mod golden;
mod page;
mod promtool;
