"""The Helm chart: what it renders for each set of values, and what it refuses."""

import copy
import json
import os
import re
import tempfile
import tomllib
import unittest

import jsonschema
import kubernetes_validate
import yaml

import operators
import values_table
from support import DEPLOY, VERSION, documents, output, run, validate_configuration

CHART = DEPLOY / "helm/churnwatch"
SETS = sorted((DEPLOY / "tests/values").glob("*.yaml"))
REFUSED = sorted((DEPLOY / "tests/refused").glob("*.yaml"))
# The oldest that Chart.yaml admits, and the newest there is a schema for.
KUBERNETES = ["1.27", "1.37"]
# Of operators.
OPERATORS = {"monitoring.coreos.com/v1", "keda.sh/v1alpha1"}


def render(*files, sets=()):
    arguments = [f"--values={file}" for file in files] + [f"--set-json={one}" for one in sets]
    return documents(output("helm", "template", "shop", CHART, "--namespace=retention", *arguments))


def of_kind(manifests, kind):
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests, kind):
    found = of_kind(manifests, kind)
    assert len(found) == 1, f"{len(found)} of the kind {kind}"
    return found[0]


def workload(manifests):
    found = of_kind(manifests, "StatefulSet") + of_kind(manifests, "Deployment")
    assert len(found) == 1, [manifest["kind"] for manifest in manifests]
    return found[0]


def pod(manifests):
    return workload(manifests)["spec"]["template"]["spec"]


def container(manifests):
    return pod(manifests)["containers"][0]


def environment(manifests):
    return {variable["name"]: variable for variable in container(manifests).get("env", [])}


def toml(manifests):
    texts = [m["data"]["churnwatch.toml"] for m in of_kind(manifests, "ConfigMap") if "churnwatch.toml" in m["data"]]
    assert len(texts) == 1
    return texts[0]


def selected(selector, labels):
    return selector.items() <= labels.items()


class EverySet(unittest.TestCase):
    """What holds whatever the values."""

    @classmethod
    def setUpClass(cls):
        cls.sets = {"none": render()} | {file.name: render(file) for file in SETS}

    def test_helm_finds_nothing(self):
        for files in [()] + [(file,) for file in SETS]:
            output("helm", "lint", "--strict", CHART, *[f"--values={file}" for file in files])

    def test_kubernetes_knows_every_field(self):
        checked = 0
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                for manifest in manifests:
                    if manifest["apiVersion"] in OPERATORS:
                        continue
                    for version in KUBERNETES:
                        kubernetes_validate.validate(manifest, version, strict=True)
                        checked += 1
        self.assertGreater(checked, 50)

    def test_kubernetes_would_refuse_a_slip(self):
        for version in KUBERNETES:
            manifest = copy.deepcopy(workload(self.sets["none"]))
            manifest["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
            with self.assertRaises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(manifest, version, strict=True)

    def test_operators_know_every_field(self):
        kinds = set()
        for name, manifests in self.sets.items():
            for manifest in manifests:
                if manifest["apiVersion"] in OPERATORS:
                    with self.subTest(values=name, kind=manifest["kind"]):
                        operators.validate(manifest)
                        kinds.add(manifest["kind"])
        self.assertEqual(kinds, {"PodMonitor", "PrometheusRule", "ScaledObject"})

    def test_operators_would_refuse_a_slip(self):
        def slip(values, kind, *path, **change):
            manifest = copy.deepcopy(of_kind(self.sets[values], kind)[0])
            place = manifest["spec"]
            for step in path:
                place = place[step]
            place.update(change)
            with self.subTest(kind=kind, **change), self.assertRaises(jsonschema.ValidationError):
                operators.validate(manifest)

        endpoint = ("podMetricsEndpoints", 0)
        slip("volume.yaml", "PodMonitor", *endpoint, intervall="15s")
        slip("volume.yaml", "PodMonitor", *endpoint, interval="15 s")
        slip("volume.yaml", "PodMonitor", *endpoint, scheme="HTTP")
        slip("volume.yaml", "PodMonitor", *endpoint, path=None)
        slip("volume.yaml", "PodMonitor", *endpoint, "relabelings", 0, action="drop_label")
        slip("volume.yaml", "PrometheusRule", "groups", 0, "rules", 0, keep_firing="15m")
        slip("volume.yaml", "PrometheusRule", "groups", 0, "rules", 0, labels={"severity": 1})
        slip("keda.yaml", "ScaledObject", minReplicas=1)
        slip("keda.yaml", "ScaledObject", minReplicaCount="1")
        slip("keda.yaml", "ScaledObject", "triggers", 0, "metadata", threshold=1000000)

    def test_every_object_is_in_the_namespace_and_bears_the_labels(self):
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                for manifest in manifests:
                    self.assertEqual(manifest["metadata"]["namespace"], "retention")
                    self.assertEqual(manifest["metadata"]["labels"]["app.kubernetes.io/instance"], "shop")
                names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
                self.assertEqual(len(names), len(set(names)))

    def test_the_configuration_is_valid(self):
        with tempfile.TemporaryDirectory() as directory:
            for name, manifests in self.sets.items():
                with self.subTest(values=name):
                    # The files it names are in the pod, not here.
                    text = re.sub(r'^ *\[kafka\.librdkafka\."sasl\.password"\]\n.*\n', "", toml(manifests), flags=re.MULTILINE)
                    text = re.sub(r"^ *web_config_file = .*\n", "", text, flags=re.MULTILINE)
                    validate_configuration(text, directory)

    def test_the_pod_is_restricted(self):
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                spec = pod(manifests)
                self.assertEqual(len(spec["containers"]), 1)
                self.assertIs(spec["automountServiceAccountToken"], False)
                self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
                self.assertGreater(spec["securityContext"]["runAsUser"], 0)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                context = container(manifests)["securityContext"]
                self.assertIs(context["allowPrivilegeEscalation"], False)
                self.assertIs(context["readOnlyRootFilesystem"], True)
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                for key in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertNotIn(key, spec)
                self.assertEqual([volume for volume in spec["volumes"] if "hostPath" in volume or "emptyDir" in volume], [])
                for account in of_kind(manifests, "ServiceAccount"):
                    self.assertIs(account["automountServiceAccountToken"], False)
                    self.assertEqual(account["metadata"]["name"], spec["serviceAccountName"])

    def test_the_cluster_may_choose_the_user(self):
        keys = ("runAsUser", "runAsGroup", "fsGroup")
        context = pod(render(sets=[f"podSecurityContext.{key}=null" for key in keys]))["securityContext"]
        self.assertEqual(context.keys() & set(keys), set())
        self.assertIs(context["runAsNonRoot"], True)

    def test_probes_ask_what_they_mean(self):
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                probes = container(manifests)
                paths = {name: probes[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
                self.assertEqual(paths, {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"})
                # A long catch-up is alive, but not ready.
                startup = probes["startupProbe"]
                self.assertGreaterEqual(startup["periodSeconds"] * startup["failureThreshold"], 300)
                self.assertEqual([port["name"] for port in probes["ports"]], [probes["livenessProbe"]["httpGet"]["port"]])

    def test_a_pod_has_time_to_drain(self):
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                librdkafka = tomllib.loads(toml(manifests))["kafka"].get("librdkafka", {})
                session = librdkafka.get("session.timeout.ms", 45000) / 1000
                # Ten for leaving the group, two for HTTP, and some to spare.
                self.assertGreaterEqual(pod(manifests)["terminationGracePeriodSeconds"], session + 10 + 2 + 3)

    def test_numbers_are_whole_for_a_while_between_two_replacements(self):
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                self.assertEqual(workload(manifests)["spec"]["minReadySeconds"], 90)
        for values in ("volume.yaml", "object-store.yaml"):
            spec = workload(render(DEPLOY / "tests/values" / values, sets=["minReadySeconds=0"]))["spec"]
            self.assertEqual(spec["minReadySeconds"], 0)

    def test_a_drain_takes_one_that_is_not_ready_unless_others_depend_on_it(self):
        policies = {name: one(manifests, "PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"] for name, manifests in self.sets.items()}
        several = {"keda.yaml", "object-store.yaml", "shared-volume.yaml"}
        self.assertEqual(policies, {name: "IfHealthyBudget" if name in several else "AlwaysAllow" for name in self.sets})

    def test_selectors_meet_the_pods(self):
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                labels = workload(manifests)["spec"]["template"]["metadata"]["labels"]
                self.assertTrue(selected(workload(manifests)["spec"]["selector"]["matchLabels"], labels))
                for constraint in pod(manifests)["topologySpreadConstraints"]:
                    self.assertTrue(selected(constraint["labelSelector"]["matchLabels"], labels))
                service = one(manifests, "Service")["spec"]
                self.assertTrue(selected(service["selector"], labels))
                self.assertEqual(service["clusterIP"], "None")
                self.assertIs(service["publishNotReadyAddresses"], True)
                for kind in ("PodDisruptionBudget", "PodMonitor"):
                    for manifest in of_kind(manifests, kind):
                        self.assertTrue(selected(manifest["spec"]["selector"]["matchLabels"], labels), kind)
                for policy in of_kind(manifests, "NetworkPolicy"):
                    self.assertTrue(selected(policy["spec"]["podSelector"]["matchLabels"], labels))

    def test_what_is_mounted_is_there(self):
        for name, manifests in self.sets.items():
            with self.subTest(values=name):
                volumes = {volume["name"] for volume in pod(manifests)["volumes"]}
                volumes |= {claim["metadata"]["name"] for claim in workload(manifests)["spec"].get("volumeClaimTemplates", [])}
                self.assertEqual({mount["name"] for mount in container(manifests)["volumeMounts"]}, volumes)

    def test_a_change_of_the_configuration_restarts_the_pods(self):
        checksum = lambda manifests: workload(manifests)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        self.assertNotEqual(checksum(render()), checksum(render(sets=["config.windows.lengths=[\"7d\"]"])))


    def test_probes_pass_the_door(self):
        headers = [{"name": "Authorization", "value": "Basic cHJvYmU6cHJvYmU="}]
        probe = container(render(sets=[f"probes.httpHeaders={json.dumps(headers)}"]))["readinessProbe"]
        self.assertEqual(probe["httpGet"], {"path": "/readyz", "port": "http", "scheme": "HTTP", "httpHeaders": headers})
        probe = container(render(sets=['probes.handler="tcpSocket"']))["livenessProbe"]
        self.assertEqual(probe, {"tcpSocket": {"port": "http"}, "periodSeconds": 30, "timeoutSeconds": 5, "failureThreshold": 4})


class Volume(unittest.TestCase):
    """Snapshots on a volume."""

    def setUp(self):
        self.manifests = render(DEPLOY / "tests/values/volume.yaml")

    def test_by_default_one_instance_keeps_its_claim(self):
        manifests = render()
        spec = one(manifests, "StatefulSet")["spec"]
        self.assertEqual(spec["replicas"], 1)
        self.assertEqual(spec["podManagementPolicy"], "Parallel")
        self.assertEqual(spec["serviceName"], one(manifests, "Service")["metadata"]["name"])
        self.assertEqual(spec["updateStrategy"], {"type": "RollingUpdate"})
        self.assertEqual(spec["persistentVolumeClaimRetentionPolicy"], {"whenDeleted": "Retain", "whenScaled": "Retain"})
        mounts = {mount["name"]: mount["mountPath"] for mount in container(manifests)["volumeMounts"]}
        self.assertEqual(tomllib.loads(toml(manifests))["snapshot"]["store"], f"file://{mounts['snapshots']}")

    def test_the_claim_is_as_asked_for(self):
        claim = one(self.manifests, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"]
        self.assertEqual(claim["storageClassName"], "fast")
        self.assertEqual(claim["resources"], {"requests": {"storage": "20Gi"}})

    def test_members_are_static_by_the_name_of_the_pod(self):
        variable = "CHURNWATCH__KAFKA__LIBRDKAFKA__GROUP_INSTANCE_ID"
        self.assertEqual(environment(self.manifests)[variable]["valueFrom"], {"fieldRef": {"fieldPath": "metadata.name"}})
        self.assertEqual(environment(render(sets=["staticMembership=false"])), {})
        self.assertNotIn(variable, environment(render(DEPLOY / "tests/values/object-store.yaml")))

    def test_whole_numbers_stay_whole(self):
        config = tomllib.loads(toml(self.manifests))
        self.assertEqual(repr(config["kafka"]["prefetch_bytes"]), "134217728")
        self.assertEqual(repr(config["windows"]["max_cohorts"]), "500")
        self.assertEqual(repr(config["kafka"]["librdkafka"]["session.timeout.ms"]), "60500")
        self.assertEqual(config["dimensions"], [{"name": "plan"}, {"name": "region", "value": "first"}])

    def test_secrets_are_files_and_not_in_the_configuration(self):
        spec = pod(self.manifests)
        secret = next(volume["secret"] for volume in spec["volumes"] if volume["name"] == "secrets")
        self.assertEqual(secret, {"secretName": "churnwatch-kafka", "defaultMode": 0o440})
        path = tomllib.loads(toml(self.manifests))["kafka"]["librdkafka"]["sasl.password"]["file"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container(self.manifests)["volumeMounts"]}
        self.assertEqual(os.path.dirname(path), mounts["secrets"])

    def test_the_grace_follows_the_session(self):
        self.assertEqual(pod(self.manifests)["terminationGracePeriodSeconds"], 61 + 45)
        self.assertEqual(pod(render())["terminationGracePeriodSeconds"], 90)

    def test_several_instances_share_one_claim(self):
        manifests = render(DEPLOY / "tests/values/shared-volume.yaml")
        spec = one(manifests, "StatefulSet")["spec"]
        self.assertEqual(spec["replicas"], 3)
        self.assertNotIn("volumeClaimTemplates", spec)
        volumes = {volume["name"]: volume for volume in pod(manifests)["volumes"]}
        self.assertEqual(volumes["snapshots"]["persistentVolumeClaim"], {"claimName": "churnwatch-snapshots"})
        self.assertEqual(pod(manifests)["terminationGracePeriodSeconds"], 120)

    def test_the_network_policy_names_the_ports(self):
        spec = one(self.manifests, "NetworkPolicy")["spec"]
        self.assertEqual([port["port"] for port in spec["egress"][1]["ports"]], [9093, 9094])
        self.assertEqual(len(spec["egress"]), 2)
        self.assertEqual(len(spec["ingress"][0]["from"]), 1)
        self.assertNotIn("from", one(render(), "NetworkPolicy")["spec"]["ingress"][0])


class ObjectStore(unittest.TestCase):
    """Snapshots in a bucket."""

    def setUp(self):
        self.manifests = render(DEPLOY / "tests/values/object-store.yaml")
        self.keda = render(DEPLOY / "tests/values/keda.yaml")

    def test_instances_are_a_deployment_that_keeps_nothing(self):
        spec = one(self.manifests, "Deployment")["spec"]
        self.assertEqual(spec["replicas"], 3)
        self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxSurge": 0, "maxUnavailable": 1})
        self.assertEqual([volume["name"] for volume in pod(self.manifests)["volumes"]], ["config"])
        self.assertEqual(tomllib.loads(toml(self.manifests))["snapshot"]["store"], "s3://snapshots/churnwatch")
        self.assertTrue(container(self.manifests)["image"].startswith("ghcr.io/churnwatch/churnwatch@sha256:"))
        self.assertEqual(environment(self.manifests)["RUST_LOG"]["value"], "debug")

    def test_only_a_rolling_update_has_bounds(self):
        strategy = lambda *sets: one(render(DEPLOY / "tests/values/keda.yaml", sets=sets), "Deployment")["spec"]["strategy"]
        self.assertEqual(strategy(), {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        # Kubernetes refuses bounds beside it.
        self.assertEqual(strategy('strategy.type="Recreate"'), {"type": "Recreate"})
        self.assertEqual(strategy("strategy.rollingUpdate=null"), {"type": "RollingUpdate"})

    def test_an_identity_reaches_the_bucket(self):
        account = one(self.manifests, "ServiceAccount")
        self.assertIn("eks.amazonaws.com/role-arn", account["metadata"]["annotations"])
        store, metadata = one(self.manifests, "NetworkPolicy")["spec"]["egress"][2:]
        self.assertEqual(store, {"ports": [{"port": 443, "protocol": "TCP"}]})
        self.assertEqual(metadata["to"], [{"ipBlock": {"cidr": "169.254.0.0/16"}}])
        self.assertEqual([port["port"] for port in metadata["ports"]], [80, 988])

    def test_an_identity_provider_of_kafka_is_reached(self):
        method = 'config.kafka.librdkafka={"sasl.oauthbearer.method": "oidc"}'
        egress = one(render(sets=[method]), "NetworkPolicy")["spec"]["egress"]
        self.assertEqual(egress[2:], [{"ports": [{"port": 443, "protocol": "TCP"}]}])
        self.assertEqual(len(one(render(), "NetworkPolicy")["spec"]["egress"]), 2)
        with_store = one(render(DEPLOY / "tests/values/object-store.yaml", sets=[method]), "NetworkPolicy")["spec"]["egress"]
        self.assertEqual(with_store, one(self.manifests, "NetworkPolicy")["spec"]["egress"])

    def test_keys_come_from_the_secret(self):
        self.assertEqual(container(self.keda)["envFrom"], [{"secretRef": {"name": "churnwatch-s3"}}])
        self.assertEqual(of_kind(self.keda, "ServiceAccount"), [])
        self.assertEqual(pod(self.keda)["serviceAccountName"], "churnwatch")

    def test_keda_decides_on_the_number(self):
        deployment = one(self.keda, "Deployment")
        self.assertNotIn("replicas", deployment["spec"])
        spec = one(self.keda, "ScaledObject")["spec"]
        self.assertEqual(spec["scaleTargetRef"]["name"], deployment["metadata"]["name"])
        self.assertEqual((spec["minReplicaCount"], spec["maxReplicaCount"]), (1, 12))
        self.assertIn('namespace="retention", job="shop"', spec["triggers"][0]["metadata"]["query"])
        # Silence is no reason for fewer.
        self.assertEqual(spec["triggers"][0]["metadata"]["ignoreNullValues"], "false")
        self.assertEqual(of_kind(self.manifests, "ScaledObject"), [])

    def test_tls_is_spoken_by_all(self):
        schemes = {container(self.keda)[f"{probe}Probe"]["httpGet"]["scheme"] for probe in ("startup", "liveness", "readiness")}
        self.assertEqual(schemes, {"HTTPS"})
        self.assertEqual(one(self.keda, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["scheme"], "https")
        web = next(volume["projected"] for volume in pod(self.keda)["volumes"] if volume["name"] == "web")
        self.assertEqual([source["secret"]["name"] for source in web["sources"]], ["churnwatch-web", "churnwatch-tls"])
        self.assertEqual(tomllib.loads(toml(self.keda))["http"]["web_config_file"], "/etc/churnwatch/web/web-config.yml")


class Monitoring(unittest.TestCase):
    """What the operators of Prometheus and Grafana get."""

    def setUp(self):
        self.manifests = render(DEPLOY / "tests/values/volume.yaml")

    def test_the_chart_holds_the_rules_and_dashboards_of_the_repository(self):
        for ours, theirs in (("rules/*.yml", "prometheus/rules"), ("dashboards/*.json", "grafana/dashboards")):
            copies = {file.name: file.read_text() for file in (CHART / "files").glob(ours)}
            originals = {file.name: file.read_text() for file in (DEPLOY / theirs).glob(os.path.basename(ours))}
            self.assertEqual(copies.keys(), originals.keys(), "run `make chart`")
            for name, text in originals.items():
                self.assertTrue(copies[name] == text, f"{name} differs: run `make chart`")

    def test_every_rule_arrives_unchanged(self):
        rendered = [rule["spec"]["groups"] for rule in of_kind(self.manifests, "PrometheusRule")]
        files = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
        self.assertTrue(files)
        self.assertEqual(rendered, [documents(file.read_text())[0]["groups"] for file in files])
        for rule in of_kind(self.manifests, "PrometheusRule"):
            self.assertEqual(rule["metadata"]["labels"]["release"], "kube-prometheus-stack")
        self.assertEqual(of_kind(render(), "PrometheusRule"), [])

    def test_every_dashboard_arrives_unchanged(self):
        rendered = {}
        for manifest in of_kind(self.manifests, "ConfigMap"):
            if manifest["metadata"]["labels"].get("grafana_dashboard") == "1":
                self.assertEqual(manifest["metadata"]["annotations"], {"grafana_folder": "Customers"})
                rendered |= {name: json.loads(text) for name, text in manifest["data"].items()}
        originals = list((DEPLOY / "grafana/dashboards").glob("*.json"))
        self.assertTrue(originals)
        self.assertEqual(rendered, {file.name: json.loads(file.read_text()) for file in originals})

    def test_one_job_is_one_group(self):
        spec = one(self.manifests, "PodMonitor")["spec"]
        self.assertEqual(spec["jobLabel"], "app.kubernetes.io/instance")
        endpoint = spec["podMetricsEndpoints"][0]
        self.assertEqual((endpoint["port"], endpoint["path"], endpoint["scheme"]), ("http", "/metrics", "http"))
        self.assertEqual(endpoint["basicAuth"]["password"], {"name": "scrape", "key": "password"})
        self.assertNotIn("job", [relabeling.get("targetLabel") for relabeling in endpoint["relabelings"]])

    def test_a_release_that_takes_the_place_of_another_keeps_its_job(self):
        manifests = render(DEPLOY / "tests/values/keda.yaml", sets=['podMonitor.job="old"'])
        relabelings = one(manifests, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["relabelings"]
        self.assertEqual(relabelings[0], {"action": "replace", "targetLabel": "job", "replacement": "old"})
        self.assertEqual(relabelings[1:], [{"action": "labeldrop", "regex": "container|endpoint"}])
        query = one(manifests, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
        self.assertIn('namespace="retention", job="old"', query)
        # To hand the job over restarts nobody.
        template = lambda *sets: workload(render(DEPLOY / "tests/values/keda.yaml", sets=sets))["spec"]["template"]
        self.assertEqual(template("podMonitor.enabled=false"), template('podMonitor.job="old"'))

    def rules(self, *sets):
        """Of all groups, by name; of recording rules several may have one."""
        manifests = render(DEPLOY / "tests/values/volume.yaml", sets=sets)
        groups = [group for rule in of_kind(manifests, "PrometheusRule") for group in rule["spec"]["groups"]]
        return [rule for group in groups for rule in group["rules"]]

    def test_links_of_alerts_lead_to_grafana(self):
        for url in ("https://grafana.example.com/g", "https://grafana.example.com/g/"):
            links = [rule["annotations"]["dashboard_url"] for rule in self.rules(f'prometheusRule.grafanaUrl="{url}"') if "alert" in rule]
            self.assertGreater(len(links), 15)
            for link in links:
                self.assertTrue(link.startswith("https://grafana.example.com/g/d/churnwatch-"), link)

    def test_labels_are_added_to_alerts_alone(self):
        ours, theirs = self.rules(), self.rules('prometheusRule.additionalLabels={"team": "growth"}')
        for rule in ours:
            if "alert" in rule:
                rule["labels"]["team"] = "growth"
        self.assertEqual(ours, theirs)

    def test_alerts_look_at_the_windows_there_are_with_the_bounds_given(self):
        ours = self.rules()
        theirs = self.rules(
            'config.windows.lengths=["12h", "14d", "60d"]',
            'prometheusRule.windows={"short": "12h", "long": "14d", "slow": "60d"}',
            # As those of others, which must not be taken for them.
            'prometheusRule.firstBounds={"short": 0.02, "long": 0.05, "involuntary": 0.1}',
        )
        of = lambda rules, name: [(rule["labels"], rule["expr"]) for rule in rules if rule.get("record") == name]
        windows = {labels["alert_window"]: labels["window"] for labels, _ in of(theirs, "churnwatch:alert_window:info")}
        self.assertEqual(windows, {"short": "12h", "long": "14d", "slow": "60d"})
        name = "churnwatch:first_bound:ratio"
        bounds = {(labels["of"], labels["alert_window"]): expr.split(" * ") for labels, expr in of(theirs, name)}
        window = lambda name: f'churnwatch:alert_window:info{{alert_window="{name}"}}'
        expected = {
            ("churn", "short"): ["0.02", window("short")],
            ("churn", "long"): ["0.05", window("long")],
            ("involuntary_churn", "short"): ["0.1", window("short")],
        }
        self.assertEqual(bounds, expected)
        changed = [one for one, other in zip(ours, theirs, strict=True) if one != other]
        self.assertEqual({rule["record"] for rule in changed}, {name, "churnwatch:alert_window:info"})
        self.assertEqual(len(changed), 6)

    def test_alerts_can_be_left_out(self):
        left_out = ["ChurnwatchBaselineMissing", "ChurnwatchLagHigh"]
        theirs = self.rules(f"prometheusRule.disabled={json.dumps(left_out)}")
        self.assertEqual(theirs, [rule for rule in self.rules() if rule.get("alert") not in left_out])
        self.assertEqual(len(theirs), len(self.rules()) - 3)


class Values(unittest.TestCase):
    """What can be set."""

    def test_what_would_go_wrong_is_refused(self):
        self.assertGreater(len(REFUSED), 30)
        for file in REFUSED:
            with self.subTest(file=file.name):
                expected = file.read_text().splitlines()[0].removeprefix("# ")
                code, _, said = run("helm", "template", "shop", CHART, f"--values={file}")
                self.assertNotEqual(code, 0)
                self.assertRegex(said, expected)

    def test_an_unknown_key_is_refused_at_every_level(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        jsonschema.Draft7Validator.check_schema(schema)
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        jsonschema.validate(values, schema)
        levels = 0
        for path in levels_of(schema):
            changed = copy.deepcopy(values)
            level = changed
            for key in path:
                level = level[key]
            level["no-such-key"] = 1
            with self.subTest(path=path), self.assertRaises(jsonschema.ValidationError):
                jsonschema.validate(changed, schema)
            levels += 1
        self.assertGreater(levels, 20)

    def test_the_schema_knows_what_values_yaml_documents_and_nothing_more(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        for path in levels_of(schema):
            level, known = values, schema
            for key in path:
                level, known = level[key], known["properties"][key]
            if path[:1] in (["config"], ["probes"], ["resources"]):
                self.assertLessEqual(level.keys(), known["properties"].keys(), path)
            else:
                self.assertEqual(level.keys() | {"global"} if not path else level.keys(), known["properties"].keys(), path)

    def test_the_table_of_the_readme_is_that_of_values_yaml(self):
        readme = CHART / "README.md"
        text = values_table.insert(readme.read_text(), (CHART / "values.yaml").read_text())
        if os.environ.get("UPDATE_DOCS"):
            readme.write_text(text)
        self.assertTrue(readme.read_text() == text, "run `make chart`")

    def test_every_command_of_the_readme_names_a_namespace(self):
        # Two words are a name and no command to be typed.
        commands = re.findall(r"(?m)(?:^|`|# )((?:helm|kubectl) [^\s`]+ [^`\n]+)", (CHART / "README.md").read_text())
        self.assertGreater(len(commands), 10)
        for command in commands:
            self.assertRegex(command, r" --namespace (retention|monitoring)( |$)")

    def test_versions_are_those_of_the_binary(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual(chart["appVersion"], VERSION)


def levels_of(schema, path=()):
    """Where the schema names every key."""
    if schema.get("additionalProperties") is False:
        yield list(path)
    for key, inner in schema.get("properties", {}).items():
        if inner.get("type") == "object" and "properties" in inner and key != "librdkafka":
            yield from levels_of(inner, (*path, key))


if __name__ == "__main__":
    unittest.main()
