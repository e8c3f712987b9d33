//! deploy/prometheus: recording rules over several instances, from the table of metrics, by promtool and in a real Prometheus.

mod instances;
mod promtool;
mod rules;
