//! deploy/alertmanager: who is told of what, and what is held back, by amtool and in a real Alertmanager.

use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::alerts::alerts;
use crate::support::{tool, until, until_equal};

const PACKAGE: &str = "prometheus-alertmanager";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alertmanager/alertmanager.yml");

fn amtool(arguments: &[&str]) -> Option<String> {
    let output =
        tool::command("amtool", PACKAGE, "the configuration of Alertmanager")?.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_configuration_is_valid_and_every_alert_goes_where_its_severity_says() {
    let Some(said) = amtool(&["check-config", CONFIG]) else { return };
    assert!(said.contains("SUCCESS"), "{said}");
    for (name, alert) in alerts() {
        let label = |name: &str| alert.split_once(&format!("{name}: ")).unwrap().1.split([',', '}']).next().unwrap();
        let (severity, category) = (label("severity"), label("category"));
        let labels = [format!("alertname={name}"), format!("severity={severity}"), format!("category={category}")];
        let config = format!("--config.file={CONFIG}");
        let arguments = ["config", "routes", "test", &config, &labels[0], &labels[1], &labels[2]];
        let receiver = match severity {
            "critical" => "page",
            "warning" => "ticket",
            _ => "null",
        };
        assert_eq!(amtool(&arguments).unwrap().trim(), receiver, "{name}");
    }
}

/// Killed when dropped.
struct Alertmanager {
    child: Child,
    url: String,
    _data: TempDir,
}

impl Alertmanager {
    fn start() -> Option<Self> {
        let command = "prometheus-alertmanager";
        let mut command = tool::command(command, PACKAGE, "inhibitions in a real Alertmanager")?;
        let data = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        command
            .args([format!("--config.file={CONFIG}"), format!("--storage.path={}", data.path().display())])
            .args([format!("--web.listen-address={address}"), "--cluster.listen-address=".to_owned()])
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let manager =
            Self { child: command.spawn().unwrap(), url: format!("http://{address}/api/v2/alerts"), _data: data };
        until("ready", || ureq::get(format!("http://{address}/-/ready")).call().is_ok());
        Some(manager)
    }

    fn tell(&self, alerts: &[Value]) {
        let alerts: Vec<Value> = alerts.iter().map(|labels| json!({ "labels": labels })).collect();
        let body = serde_json::to_string(&alerts).unwrap();
        ureq::post(&self.url).header("content-type", "application/json").send(&body).unwrap();
    }

    /// Which of the alerts that it knows of it holds back.
    fn held_back(&self) -> Vec<String> {
        let text = ureq::get(&self.url).call().unwrap().body_mut().read_to_string().unwrap();
        let known = serde_json::from_str::<Vec<Value>>(&text).unwrap();
        let held_back = known.iter().filter(|alert| alert["status"]["inhibitedBy"] != json!([]));
        let mut names: Vec<String> = held_back.map(name).collect();
        names.sort();
        names
    }
}

fn name(alert: &Value) -> String {
    let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
    format!("{} {} {}", label("alertname"), label("job"), label("cohort_by"))
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn no_one_hears_of_churn_while_the_numbers_are_unfit() {
    let spike = |job: &str, cohort_by: &str| json!({"alertname": "ChurnwatchChurnSpike", "category": "churn", "severity": "warning", "job": job, "cohort_by": cohort_by});
    let pipeline =
        |name: &str, job: &str| json!({"alertname": name, "category": "pipeline", "severity": "critical", "job": job});
    let Some(manager) = Alertmanager::start() else { return };
    manager.tell(&[
        // A cohort that is silenced must not hold back everyone.
        spike("sound", "everyone"),
        spike("sound", "plan"),
        pipeline("ChurnwatchCohortsFolded", "sound"),
        pipeline("ChurnwatchCertificateExpiring", "sound"),
        spike("absent", "plan"),
        pipeline("ChurnwatchAbsent", "absent"),
        pipeline("ChurnwatchDown", "absent"),
        spike("stale", "plan"),
        pipeline("ChurnwatchAsOfStale", "stale"),
        pipeline("ChurnwatchDown", "stale"),
        spike("missing", "plan"),
        pipeline("ChurnwatchPartitionsMissing", "missing"),
        spike("rejecting", "plan"),
        pipeline("ChurnwatchRejectedEventsHigh", "rejecting"),
        pipeline("ChurnwatchRejectedEvents", "rejecting"),
        spike("silent", "plan"),
        pipeline("ChurnwatchEventsStopped", "silent"),
    ]);
    let expected = [
        "ChurnwatchChurnSpike absent plan",
        "ChurnwatchChurnSpike missing plan",
        "ChurnwatchChurnSpike rejecting plan",
        "ChurnwatchChurnSpike silent plan",
        "ChurnwatchChurnSpike stale plan",
        "ChurnwatchDown absent ",
        "ChurnwatchRejectedEvents rejecting ",
    ];
    // What inhibits is learnt beside the API, one alert after another: an answer may be older than that.
    until_equal(|| manager.held_back(), &expected);
}
