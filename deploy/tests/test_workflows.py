"""The workflows: actions by commit, and no right that is not needed. actionlint looks at the rest."""

import re
import tomllib
import unittest

from support import ROOT, VERSION, documents

WORKFLOWS = {file.name: file.read_text() for file in sorted((ROOT / ".github/workflows").glob("*.yml"))}


def jobs():
    """Each job of each workflow, by both their names."""
    for name, text in WORKFLOWS.items():
        for job, content in documents(text)[0]["jobs"].items():
            yield f"{name}: {job}", content


class Workflows(unittest.TestCase):
    def test_actions_are_named_by_commit_and_version(self):
        uses = [line for text in WORKFLOWS.values() for line in text.splitlines() if "uses:" in line]
        self.assertGreater(len(uses), 5)
        for line in uses:
            self.assertRegex(line, r"uses: actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
        commits = {tuple(re.search(r"uses: (\S+)@(\S+)", line).groups()) for line in uses}
        self.assertEqual(len(commits), len({action for action, _ in commits}), "two versions of one action")

    def test_rights_are_given_to_jobs_and_only_the_last_one_writes_a_release(self):
        for name, text in WORKFLOWS.items():
            self.assertEqual(documents(text)[0]["permissions"], {}, name)
        rights = {name: {right for right, level in job["permissions"].items() if level == "write"} for name, job in jobs()}
        self.assertEqual({name: writes for name, writes in rights.items() if writes}, {
            "release.yml: image": {"packages"},
            "release.yml: publish": {"contents", "packages", "id-token", "attestations"},
        })

    def test_who_publishes_has_no_sources_and_compiles_nothing(self):
        publish = dict(jobs())["release.yml: publish"]
        text = " ".join(step.get("run", "") + step.get("uses", "") for step in publish["steps"])
        for word in ("checkout", "cargo", "make ", "docker build "):
            self.assertNotIn(word, text)
        self.assertEqual(publish["environment"], "release")

    def test_jobs_end_and_leave_no_credentials_behind(self):
        for name, job in jobs():
            self.assertLessEqual(job["timeout-minutes"], 90, name)
            for step in job["steps"]:
                if "checkout" in step.get("uses", ""):
                    self.assertIs(step["with"]["persist-credentials"], False, name)

    def test_expressions_reach_scripts_through_variables_alone(self):
        for name, job in jobs():
            for step in job["steps"]:
                self.assertNotIn("${{", step.get("run", ""), name)

    def test_a_release_is_tested_first_and_of_known_vulnerabilities(self):
        release = dict(jobs())
        scripts = [step.get("run", "") for step in release["release.yml: check"]["steps"]]
        self.assertIn(".ci/run", scripts)
        self.assertTrue(any("make advisories" in script for script in scripts))
        needs = {name: job.get("needs", []) for name, job in release.items()}
        self.assertEqual(needs["release.yml: image"], "check")
        self.assertEqual(needs["release.yml: publish"], ["check", "image", "pack"])

    def test_the_released_binary_is_tried_before_it_is_pushed(self):
        scripts = [step.get("run", "") for step in dict(jobs())["release.yml: image"]["steps"]]
        taken = next(number for number, script in enumerate(scripts) if "docker cp image:" in script)
        self.assertIn('churnwatch" validate --config deploy/tests/secured.toml\n', scripts[taken])
        self.assertTrue(all("docker push" not in script for script in scripts[: taken + 1]))

    def test_each_processor_has_its_archive_and_its_sbom(self):
        release = dict(jobs())
        processors = [one["arch"] for one in release["release.yml: image"]["strategy"]["matrix"]["include"]]
        pack = "".join(step.get("run", "") for step in release["release.yml: pack"]["steps"])
        self.assertIn(f"for arch in {' '.join(processors)}; do\n", pack)
        made = re.search(r"for machine in (.*); do", (ROOT / "Makefile").read_text())[1].split()
        self.assertEqual([machine.split(":")[0] for machine in made], processors)
        targets = tomllib.loads((ROOT / "deny.toml").read_text())["graph"]["targets"]
        self.assertEqual([machine.split(":")[1] + "-unknown-linux-gnu" for machine in made], targets)

    def test_tools_come_in_one_version(self):
        texts = [*WORKFLOWS.values(), (ROOT / ".ci/run").read_text()]
        installs = r"(?:from_pypi \S+|pip\S* install --quiet|pipx install|\bgo install) (?!.?\$)([^#\n]+)"
        found = [package for text in texts for packages in re.findall(installs, text) for package in packages.split()]
        self.assertGreater(len(found), 8)
        for package in found:
            self.assertRegex(package, r"(==|@v)\d+(\.\d+)+'?$")
        pinned = [re.split("==|@v", package) for package in found]
        self.assertEqual(len({tuple(pin) for pin in pinned}), len({name for name, _ in pinned}), "two versions of one tool")

    def test_the_toolchain_is_that_of_the_dockerfile(self):
        rust = documents(WORKFLOWS["release.yml"])[0]["env"]["RUST"]
        self.assertIn(f"rust:{rust}-", (ROOT / "deploy/docker/Dockerfile").read_text())

    def test_what_the_release_looks_for_is_there(self):
        self.assertIn(f"\nappVersion: {VERSION}\n", (ROOT / "deploy/helm/churnwatch/Chart.yaml").read_text())
        self.assertRegex((ROOT / "CHANGELOG.md").read_text(), r"(?m)^## \[")


if __name__ == "__main__":
    unittest.main()
