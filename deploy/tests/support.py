"""What the checks of the packages share. `make deploy` runs them all."""

import os
import pathlib
import re
import subprocess
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
CHURNWATCH = pathlib.Path(os.environ.get("CHURNWATCH_BINARY", ROOT / "target/debug/churnwatch"))


def run(*command, cwd=ROOT, stdin=None):
    """Exit code, standard output, standard error."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, input=stdin, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def output(*command, **options):
    """Standard output of a command that must not fail."""
    code, out, err = run(*command, **options)
    assert code == 0, f"{' '.join(map(str, command))}\n{out}{err}"
    return out


class StringKeys(yaml.SafeLoader):
    """YAML as Kubernetes and Go read it: a key such as `on` is a string."""


StringKeys.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StringKeys.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


def documents(text):
    """The documents of a YAML stream that say anything."""
    return [document for document in yaml.load_all(text, StringKeys) if document]


def validate_configuration(text, directory):
    """Has the binary check a configuration, and gives what it prints."""
    file = pathlib.Path(directory) / "churnwatch.toml"
    file.write_text(text)
    return output(CHURNWATCH, "validate", "--config", file)
