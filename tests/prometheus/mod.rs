//! deploy/prometheus and deploy/alertmanager: recording rules from the table of metrics, the baseline and the alerts, by promtool
//! and amtool, and in a real Prometheus and Alertmanager.

mod alertmanager;
mod alerts;
mod instances;
mod promtool;
mod rules;
mod server;
mod spike;
