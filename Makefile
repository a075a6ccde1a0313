# bootserve. `make help` lists the targets.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# namespaces, mounts and low ports need root; its cache is its own, since files of root's in the
# user's would keep that user's own builds out
ASROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E XDG_CACHE_HOME=/root/.cache)

.PHONY: help setup packages demo test test-matrix test-long fuzz check bench lock fresh wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install what is missing: Debian packages and .venv

packages: ## install the Debian packages that are missing
	@deploy/install-packages deploy/debian-packages.txt

$(STAMP): requirements.lock pyproject.toml vm-harness/pyproject.toml | packages
	/usr/bin/python3.11 -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e vm-harness
	@touch $@

demo: setup ## boot real VMs through bootserve from pinned generations, and prove what is promised
	$(ASROOT) $(BIN)/python -m vm_harness.demo

test: setup check ## run every test (under 25 minutes on two cores)
	$(ASROOT) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 25

test-matrix: setup ## boot every firmware in every way (docs/firmware.md)
	$(ASROOT) $(BIN)/python -m pytest -n 2 --dist worksteal --durations 0 -m matrix

test-long: setup ## roll out over four real nodes, cut a node's power, kill a server with 1,000 writes in flight (ONLY=hangs)
	$(ASROOT) $(BIN)/python -m pytest --durations 0 -m matrix tests/service/test_killed.py tests/vm/test_firmware.py tests/vm/test_rollout.py \
	  $(if $(ONLY),-k '$(ONLY)')

fuzz: setup ## fuzz what faces the network, TIME seconds a parser (300)
	$(BIN)/python -m tests.fuzz --seconds $(or $(TIME),300)

check: setup ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup ## measure against peers (LINES=tftp-1,offers-* for some; ROUNDS=5)
	$(ASROOT) $(BIN)/python -m bench $(if $(LINES),--lines '$(LINES)') $(if $(ROUNDS),--rounds $(ROUNDS))

lock: setup ## write requirements.lock again from pyproject.toml
	$(BIN)/python -m venv build/lock
	build/lock/bin/pip install --quiet pip-tools hatchling editables
	build/lock/bin/pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --no-annotate \
	  --no-build-isolation -o build/lock/all pyproject.toml
	grep -v '^#\|^bootserve @' build/lock/all > requirements.lock

fresh: ## try the set-up on a new, minimal Debian 12 (see deploy/README.md)
	$(ASROOT) deploy/try-fresh $(FRESH)

wheel: setup ## build the package into dist/
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w dist .

clean: ## remove what was made here (not the image cache)
	rm -rf $(VENV) build dist
