"""The image: what can be said of it without building it."""

import os
import re
import unittest

from support import CHURNWATCH, DEPLOY, ROOT, VERSION, output, run

DOCKERFILE = (DEPLOY / "docker/Dockerfile").read_text()
STAGES = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)


class Image(unittest.TestCase):
    def test_the_binary_needs_nothing_that_the_image_does_not_have(self):
        needed = {line.split()[0].rsplit("/", 1)[-1] for line in output("ldd", CHURNWATCH).splitlines()}
        self.assertLessEqual(needed, {"linux-vdso.so.1", "ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libgcc_s.so.1"})

    def test_the_binary_takes_tls_and_tokens_of_identity_providers(self):
        code, _, said = run(CHURNWATCH, "validate", "--config", DEPLOY / "tests/secured.toml")
        if "not supported in this build" in said and not os.environ.get("CI"):
            self.skipTest("built without libcurl's headers (Debian: libcurl4-openssl-dev; then cargo clean -p rdkafka-sys)")
        self.assertEqual(code, 0, said)

    def test_it_runs_the_binary_alone_and_not_as_root(self):
        instructions = dict(line.split(" ", 1) for line in STAGES[-1].splitlines()[1:] if re.match(r"[A-Z]+ ", line))
        self.assertEqual(instructions["ENTRYPOINT"], '["/usr/local/bin/churnwatch"]')
        self.assertEqual(instructions["USER"], "65532:65532")
        self.assertEqual(instructions["EXPOSE"], "8642")
        self.assertNotIn("RUN", instructions)

    def test_versions_are_those_of_the_manifest(self):
        self.assertIn(f"ARG VERSION={VERSION}\n", DOCKERFILE)
        compiler = re.search(r'^rust-version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), flags=re.MULTILINE)[1]
        self.assertIn(f"ARG RUST_IMAGE=rust:{compiler}.", DOCKERFILE)

    def test_what_is_compiled_is_locked(self):
        cargo = re.findall(r"cargo (?:install|build|chef cook)[^\n]*", DOCKERFILE)
        self.assertEqual(len(cargo), 3)
        for command in cargo:
            self.assertIn("--locked", command)

    def test_what_the_build_reads_is_in_its_context(self):
        lines = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
        self.assertEqual([line for line in lines if line and line[0] not in "#!"], ["*"])
        sent = {line[1:] for line in lines if line.startswith("!")}
        self.assertTrue(all((ROOT / name).exists() for name in sent))
        read = {"Cargo.toml", "Cargo.lock", "build.rs", "src", "proto"}
        # The manifest's targets, which have to be there for cargo to read it.
        read |= {path.split("/")[0] for path in re.findall(r'^path = "(.*)"$', (ROOT / "Cargo.toml").read_text(), flags=re.MULTILINE)}
        self.assertLessEqual(read, sent)
        embedded = [line for file in (ROOT / "src").rglob("*.rs") for line in re.findall(r'include_(?:str|bytes)!\("(.*?)"\)', file.read_text())]
        self.assertEqual([path for path in embedded if path.startswith("..")], [])


if __name__ == "__main__":
    unittest.main()
