//! deploy/prometheus, deploy/alertmanager and deploy/grafana: recording rules from the table of metrics, the baseline, the alerts and the dashboards, by promtool
//! and amtool, and in a real Prometheus and Alertmanager.

mod alertmanager;
mod alerts;
mod dashboards;
mod instances;
mod promtool;
mod rules;
mod server;
mod spike;
