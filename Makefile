# Every target sets up what it needs: a fresh machine wants Python 3.11+, make and a package registry.
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.installed

# diskcache unpickles what it reads: CVE-2025-69872, without a fixed version. Our Disk refuses pickle
# (docs/decisions/0005), and a test plants one.
ACCEPTED_ADVISORIES := --ignore-vuln CVE-2025-69872 --ignore-vuln GHSA-w8v5-vhqr-4h9v

# As in the extras `ray` and `ray-data` of pyproject.toml.
RAY := ray[data,serve]==2.60.*

.DEFAULT_GOAL := help
.PHONY: help setup test-programs demo test check fmt serve data teacher lock docs openapi compose-test ray-test chaos vendors-test bench bench-quick evidence evidence-quick structure clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@# Compiled once here: an environment that writes no bytecode would compile torch in every process.
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install -q --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP) ## the environment in .venv, from the hashed lock file

demo: setup ## vendor, purchase, distillation and audit on emoji in ten styles (10 minutes)
	@$(BIN)/python -m examples.emoji.demo

test-programs: ## Chromium and PgBouncer from Debian's packages, which the tests run (root or sudo)
	@docker/install-test-programs

test: test-programs check ## everything: lint, types, contracts, unit, contract, attack, chaos and end-to-end tests
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: setup docs ## the fast part: lint, types, import contracts, documentation, container files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy teacher_server student cache tests examples benchmarks tools
	@$(BIN)/lint-imports
	@$(BIN)/bandit -q -c pyproject.toml -r teacher_server student cache 2> .venv/bandit.txt \
	  || { cat .venv/bandit.txt; exit 1; }
	@$(BIN)/pip-audit -r requirements.lock --require-hashes --disable-pip --progress-spinner off \
	  $(ACCEPTED_ADVISORIES) > .venv/pip-audit.txt 2>&1 || { cat .venv/pip-audit.txt; exit 1; }
	@echo "pip-audit: $$(head -1 .venv/pip-audit.txt);" \
	  "$$(grep -c 'could not be audited' .venv/pip-audit.txt) packages without advisories to look up"
	@$(BIN)/hadolint docker/teacher.Dockerfile docker/client.Dockerfile
	@$(BIN)/docker-compose --env-file /dev/null --profile '*' config -q
	@$(BIN)/docker-compose --env-file docker/example.env --profile '*' config -q

fmt: setup ## format the code and sort its imports
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

serve: setup ## the vendor on port 8000 with the embedded model
	@$(BIN)/teacher-server serve

data: setup ## the emoji demo data in data/emoji
	@$(BIN)/distill-client demo-data --out data/emoji

teacher: data ## train the embedded teacher again (25 minutes on two cores)
	@$(BIN)/python -m tools.emoji.train_teacher

lock: setup ## resolve the lock files again from pyproject.toml
	@docker/lock

docs: setup ## build the documentation site into build/site, strict about links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

openapi: setup ## write docs/reference/openapi.json from the app
	@$(BIN)/teacher-server openapi > docs/reference/openapi.json

compose-test: ## test the containers with a real Docker engine (root, Debian, 20 minutes; not part of test)
	@docker/compose-test

ray-test: setup ## test the vendor on a real Ray Serve, and shards on Ray Data, in an environment of its own (10 minutes; not part of test)
	@test -x build/ray/bin/python || $(BIN)/python -m venv --without-pip build/ray
	@# It sees the project's packages, and has Ray and what Ray needs at the versions of the lock file.
	@$(BIN)/python -c "import sysconfig; print(f'import site; site.addsitedir({sysconfig.get_path(\"purelib\")!r})')" \
	  > $$(build/ray/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth
	@$(BIN)/uv pip freeze --quiet --python $(BIN)/python --exclude-editable > build/ray/constraints.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python build/ray/bin/python -c build/ray/constraints.txt "$(RAY)"
	@# Its commands, which the tests run from the environment that they are in themselves.
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python build/ray/bin/python -e .
	@build/ray/bin/python -m pytest tests/with_ray

chaos: setup test-programs ## kill vendors and clients behind a faulty network, 24,000 queries per database (40 minutes)
	@$(BIN)/python -m benchmarks.chaos.run --database sqlite --out docs/results/chaos-sqlite.json
	@$(BIN)/python -m benchmarks.chaos.run --database postgresql --out docs/results/chaos-postgresql.json
	@$(BIN)/python -m benchmarks.chaos.run --database postgresql --pooler --out docs/results/chaos-pgbouncer.json
	@$(BIN)/python -m benchmarks.chaos.doubtful --out docs/results/chaos-doubtful.json
	@$(BIN)/python -m benchmarks.overshoot --out docs/results/overshoot.json
	@$(BIN)/python -m benchmarks.reliability

vendors-test: setup ## buy students from infinity and through LiteLLM, each in an environment of its own (15 minutes; not part of test)
	@$(BIN)/python -m benchmarks.real_vendors

bench: setup ## speed against peers and limits, and docs/performance.md (an hour, on an idle machine)
	@$(BIN)/python -m benchmarks.performance

bench-quick: setup ## the same with fewer rounds, without the page (5 minutes)
	@$(BIN)/python -m benchmarks.performance --quick

evidence: data ## accuracy on unseen domains per query bought: all grids, resumable (hours)
	@$(BIN)/python -m tools.digits.lay_out --out data/digits
	@$(BIN)/python -m benchmarks.evidence

evidence-quick: data ## the evidence on a few short runs (minutes)
	@$(BIN)/python -m benchmarks.evidence --quick

structure: setup ## measure folders, imports and file sizes of the source tree
	@$(BIN)/python -m tools.structure --out docs/results/structure.json

clean: ## remove the environment and the tools' caches; runs, data and paid answers stay
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
