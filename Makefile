# Every target makes its own environment at .venv from the hashed locks; nothing else is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-$(shell cat requirements/run.txt requirements/demo.txt pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
DEV_STAMP := $(VENV)/.dev-$(shell cat requirements/dev.txt requirements/demo.txt pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
SECONDS ?= 0
RUNS ?= 20
FAULTS ?= 20
SEED ?= 0
SECURE ?=
ENCODING ?= raw
DELIVERY ?= exactly_once
TESTS ?= tests
DIST ?= dist
RELEASE := $(VENV)/release
RELEASE_STAMP := $(RELEASE)/.made-$(shell cksum < requirements/release.txt | cut -d' ' -f1)
LOCKS ?= requirements
COMPILE = $(RELEASE)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: demo test check bench crash chaos format lock relock sbom vulnerabilities docs clean help

help: ## List the targets.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(RUN_STAMP):
	@echo "setting up $(VENV) (once; about twenty seconds)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	@echo "adding the tools for tests and checks"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(RUN_STAMP) ## Simulated cloud, embedded broker and daemon; alerts on the screen. SECONDS=N to stop and audit.
	@$(BIN)/defender-ingest demo --seconds $(SECONDS)

test: $(DEV_STAMP) ## All tests; with Apache Kafka where Java 17 and Maven are at hand.
	@$(BIN)/python -m pytest $(TESTS)

check: $(DEV_STAMP) ## Format, lint, types, import contract, spelling, dependencies, Dockerfile, fresh documents.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/deptry ingest
	$(BIN)/hadolint Dockerfile
	$(BIN)/defender-ingest docs --check

bench: $(DEV_STAMP) ## The daemon beside a bare loop on Apache Kafka, in one run; SECURE=1 over TLS, ENCODING="A B".
	@$(BIN)/python -m tests.bench $(if $(SECURE),--secure) --encoding $(ENCODING)

crash: $(DEV_STAMP) ## kill -9 at random on Apache Kafka, RUNS times, then the audit; DELIVERY=at_least_once too.
	@$(BIN)/python -m tests.crash --runs $(RUNS) --seed $(SEED) --delivery $(DELIVERY)

chaos: $(DEV_STAMP) ## FAULTS faults at random on replicas and brokers, then the audit; SEED replays, SECURE=1 over TLS.
	@$(BIN)/python -m tests.chaos --faults $(FAULTS) --seed $(SEED) $(if $(SECURE),--secure)

format: $(DEV_STAMP) ## Format and mend what the linter can.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DEV_STAMP) ## Generate the configuration and metrics pages and the configuration schema.
	$(BIN)/defender-ingest docs --write

lock: $(RELEASE_STAMP) ## Resolve the hashed locks anew.
	$(COMPILE) pyproject.toml -o $(LOCKS)/run.txt
	$(COMPILE) pyproject.toml --extra build --extra demo -c requirements/run.txt -o $(LOCKS)/demo.txt
	$(COMPILE) pyproject.toml --extra build --extra test --extra lint -c requirements/run.txt -o $(LOCKS)/dev.txt
	$(COMPILE) requirements/build.in -c requirements/demo.txt -o $(LOCKS)/build.txt
	$(COMPILE) requirements/release.in -o $(LOCKS)/release.txt
	$(COMPILE) --no-deps requirements/helm.in -o $(LOCKS)/helm.txt

relock: $(RELEASE_STAMP) ## Show that the locks come out as they are, to the byte.
	@rm -rf $(DIST)/locks && mkdir -p $(DIST) && cp -r requirements $(DIST)/locks
	@$(MAKE) --no-print-directory --silent lock LOCKS=$(DIST)/locks
	@diff -r requirements $(DIST)/locks && echo "the locks are what they resolve to"

$(RELEASE_STAMP):
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/release.txt
	@touch $@

sbom: $(RELEASE_STAMP) ## What the image is made of: an SBOM (CycloneDX) and the licences, in dist/.
	@rm -rf $(DIST)/image && mkdir -p $(DIST)
	@$(PYTHON) -m venv --without-pip $(DIST)/image
	@$(RELEASE)/bin/python -m pip --python $(DIST)/image/bin/python install --quiet --disable-pip-version-check \
		--require-hashes --only-binary :all: -r requirements/run.txt
	@$(RELEASE)/bin/cyclonedx-py environment $(DIST)/image/bin/python --pyproject pyproject.toml \
		--mc-type application --output-reproducible --of JSON -o $(DIST)/sbom.cdx.json
	@$(RELEASE)/bin/pip-licenses --python $(DIST)/image/bin/python --from=mixed --format=markdown --with-urls \
		--partial-match --fail-on "GNU General;GPLv;Affero;UNKNOWN" --output-file=$(DIST)/licences.md
	@rm -rf $(DIST)/image

vulnerabilities: $(RELEASE_STAMP) ## Known vulnerabilities of what the image has; it needs PyPI's data, and fails without.
	$(RELEASE)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/run.txt

clean: ## Remove the environment and caches.
	rm -rf $(VENV) dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
