"""The compose file, and what its containers are given."""

import json
import pathlib
import re
import sys
import tempfile
import tomllib
import unittest

from support import CHURNWATCH, DEPLOY, documents, output, run, validate_configuration

FOLDER = DEPLOY / "compose"
GENERATE = FOLDER / "generator/generate.py"


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = json.loads(output("docker-compose", "--file", FOLDER / "compose.yml", "config", "--format", "json"))
        cls.services = cls.model["services"]

    def mounted(self, name):
        """What is mounted from the repository: where, and what."""
        volumes = self.services[name].get("volumes", [])
        return {volume["target"]: pathlib.Path(volume["source"]) for volume in volumes if volume["type"] == "bind"}

    def inside(self, name, directory):
        """A folder that looks like the container's, as far as it is mounted."""
        root = pathlib.Path(directory)
        for target, source in self.mounted(name).items():
            place = root / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
        return root

    def test_all_of_the_path_is_there(self):
        names = {"kafka", "topics", "churnwatch", "generator", "prometheus", "alertmanager", "grafana"}
        self.assertEqual(self.services.keys(), names)

    def test_images_have_a_version(self):
        for name, service in self.services.items():
            if "build" not in service:
                self.assertRegex(service["image"], r"^[a-z/-]+:v?\d+\.\d+\.\d+$", name)

    def test_what_is_mounted_is_in_the_repository_and_cannot_be_written_to(self):
        mounts = [(name, volume) for name, service in self.services.items() for volume in service.get("volumes", [])]
        self.assertTrue(mounts)
        for name, volume in mounts:
            if volume["type"] == "bind":
                self.assertTrue(pathlib.Path(volume["source"]).exists(), volume)
                self.assertTrue(volume["read_only"], volume)
        for service in self.services.values():
            if "build" in service:
                self.assertTrue((pathlib.Path(service["build"]["context"]) / service["build"].get("dockerfile", "Dockerfile")).exists())

    def test_nothing_listens_to_the_outside(self):
        ports = [port for service in self.services.values() for port in service.get("ports", [])]
        self.assertEqual({port["host_ip"] for port in ports}, {"127.0.0.1"})
        self.assertEqual(len(ports), len({port["published"] for port in ports}))

    def test_churnwatch_reads_what_is_made(self):
        service = self.services["churnwatch"]
        path = service["command"][service["command"].index("--config") + 1]
        text = self.mounted("churnwatch")[path].read_text()
        with tempfile.TemporaryDirectory() as directory:
            validate_configuration(text, directory)
        config = tomllib.loads(text)
        created = re.findall(r"create --topic (\S+)", self.services["topics"]["command"][0])
        self.assertEqual(created, [*config["kafka"]["topics"], config["kafka"]["dead_letter_topic"]])
        self.assertIn(config["kafka"]["topics"][0], self.services["generator"]["command"])
        snapshots = {volume["target"] for volume in service["volumes"] if volume["type"] == "volume"}
        self.assertEqual(snapshots, {"/var/lib/churnwatch"})
        # The generator's past begins with what the topic is said to hold.
        since = re.search(r'default=day\("([^"]+)"\)', GENERATE.read_text())[1]
        self.assertEqual(f"{config['time']['complete_since']:%Y-%m-%d}", since)

    def test_prometheus_understands_its_configuration_and_every_rule(self):
        with tempfile.TemporaryDirectory() as directory:
            root = self.inside("prometheus", directory)
            said = output("promtool", "check", "config", root / "etc/prometheus/prometheus.yml")
        rules = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
        self.assertEqual(said.count("rules found"), len(rules), said)

    def test_grafana_finds_prometheus_and_the_dashboards(self):
        grafana = self.services["grafana"]
        with tempfile.TemporaryDirectory() as directory:
            root = self.inside("grafana", directory)
            provisioning = root / grafana["environment"]["GF_PATHS_PROVISIONING"].lstrip("/")
            (sources,) = [documents(file.read_text())[0] for file in (provisioning / "datasources").glob("*.yml")]
            (providers,) = [documents(file.read_text())[0] for file in (provisioning / "dashboards").glob("*.yml")]
            folder = root / providers["providers"][0]["options"]["path"].lstrip("/")
            self.assertEqual(folder.resolve(), DEPLOY / "grafana/dashboards")
            self.assertTrue((root / grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].lstrip("/")).exists())
        variable = sources["datasources"][0]["url"].removeprefix("$")
        host, port = grafana["environment"][variable].removeprefix("http://").split(":")
        self.assertIn(int(port), [published["target"] for published in self.services[host]["ports"]])

    def test_alertmanager_understands_its_configuration(self):
        with tempfile.TemporaryDirectory() as directory:
            output("amtool", "check-config", self.inside("alertmanager", directory) / "etc/alertmanager/alertmanager.yml")

    def test_prometheus_finds_the_others(self):
        config = documents((FOLDER / "prometheus.yml").read_text())[0]
        (target,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
        self.assertIn(target.split(":")[0], self.services)
        (discovery,) = config["scrape_configs"][0]["dns_sd_configs"]
        self.assertEqual(discovery["names"], ["churnwatch"])
        self.assertIn(discovery["port"], [port["target"] for port in self.services["churnwatch"]["ports"]])


class Generator(unittest.TestCase):
    """Its events, without a broker."""

    def events(self, *arguments):
        return output(sys.executable, GENERATE, "--until-now", "--customers", "300", "--since", "2026-09-01", *arguments)

    def test_the_past_is_the_same_at_every_start(self):
        first, second = self.events(), self.events()
        shorter, longer = sorted((first, second), key=len)
        self.assertTrue(longer.startswith(shorter))
        self.assertGreater(shorter.count("\n"), 1000)

    def test_every_event_counts(self):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory) / "events.jsonl"
            file.write_text(self.events())
            code, page, said = run(CHURNWATCH, "replay", "--config", FOLDER / "churnwatch.toml", file)
        self.assertEqual(code, 0, said)
        for nothing in ("unchanged", "ignored", "rejected", "unreadable"):
            self.assertRegex(said, rf"\b{nothing} +0\n")
        samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        churn = float(samples['churnwatch_churn_ratio{cohort_by="everyone",window="30d"}'])
        self.assertTrue(0.02 < churn < 0.1, churn)
        plans = {plan for plan in ("basic", "pro", "team") if f'churnwatch_customers{{cohort_by="plan",plan="{plan}"}}' in samples}
        self.assertEqual(len(plans), 3)


if __name__ == "__main__":
    unittest.main()
