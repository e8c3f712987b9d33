mod docs;
mod page;
mod promtool;
