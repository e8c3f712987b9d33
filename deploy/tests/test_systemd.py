"""The systemd unit: well-formed, and what it may do is little."""

import json
import pathlib
import shutil
import tempfile
import unittest

from support import DEPLOY, output, run

UNIT = DEPLOY / "systemd/churnwatch.service"
DROP_IN = DEPLOY / "systemd/credentials.conf"
# As `systemd-analyze security` counts: 0 is nothing to lose, 10 an ordinary service of root. Now it is 1.2; what remains is
# the network, for the most part.
MAX_EXPOSURE = 1.5


class Unit(unittest.TestCase):
    def verify(self, unit_text):
        """What systemd has to say of the unit and its drop-in, installed as they say, in a root of their own."""
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
            units = root / "etc/systemd/system"
            (units / "churnwatch.service.d").mkdir(parents=True)
            (units / "churnwatch.service").write_text(unit_text)
            shutil.copy(DROP_IN, units / "churnwatch.service.d")
            binary = root / "usr/local/bin/churnwatch"
            binary.parent.mkdir(parents=True)
            binary.touch(mode=0o755)
            code, out, err = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=one", f"--root={root}", "churnwatch.service")
            return code, out + err

    def test_systemd_understands_it(self):
        self.assertEqual(self.verify(UNIT.read_text()), (0, ""))

    def test_a_slip_would_be_noticed(self):
        text = UNIT.read_text()
        self.assertIn("Unknown key", self.verify(text.replace("WatchdogSec=", "WatchdogSeconds="))[1])
        self.assertIn("not executable", self.verify(text.replace("/usr/local/bin/churnwatch run", "/usr/bin/churnwatch run"))[1])

    def test_it_may_do_little(self):
        security = ("systemd-analyze", "security", "--offline=true", "--no-pager")
        output(*security, f"--threshold={MAX_EXPOSURE * 10:.0f}", UNIT)
        findings = json.loads(output(*security, "--json=short", UNIT))
        exposed = {finding["json_field"] for finding in findings if float(finding["exposure"] or 0) >= 0.3}
        self.assertEqual(exposed, {"PrivateNetwork", "RestrictAddressFamilies_AF_INET_INET6"})

    def test_time_limits_leave_time_to_drain(self):
        settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] not in "#[")
        self.assertEqual(settings["Type"], "notify")
        # Longer than the two minutes after which the process denies to be healthy.
        self.assertGreater(int(settings["WatchdogSec"]), 120)
        self.assertGreater(int(settings["TimeoutStartSec"]), 120)
        # The default session, 10 s for leaving the group, 2 s for HTTP.
        self.assertGreater(int(settings["TimeoutStopSec"]), 45 + 10 + 2)
        self.assertEqual(settings["RestartPreventExitStatus"], "2")

    def test_memory_is_written_nowhere(self):
        self.assertIn("\nLimitCORE=0\n", UNIT.read_text())


if __name__ == "__main__":
    unittest.main()
