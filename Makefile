# Two commands do everything: `make up` installs and runs rsi here, `make test` installs and checks everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The environment is rebuilt when what it is made from changes; a stale one is never trusted.
KEY := $(shell cat pyproject.toml constraints.txt | $(PYTHON) -c "import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])")
READY := $(VENV)/ready-$(KEY)

.PHONY: up test lint fast frameworks campaigns bench clean
.DEFAULT_GOAL := test

$(READY):
	$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'rsi needs Python 3.11 or newer; set PYTHON=')"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

up: $(READY)
	$(BIN)/rsi up

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/rsi rules check
	$(BIN)/rsi rules test

fast: $(READY)
	$(BIN)/pytest -m 'not slow and not campaign'

# A file is run by one worker; two of them, because most tests wait for processes.
test: lint
	RSI_BWRAP=$$($(BIN)/python tests/sandbox/fetch_bubblewrap.py $(VENV)/bubblewrap) $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Each adapter against its real framework, at the newest and the oldest supported version.
frameworks: $(READY)
	$(BIN)/python tests/frameworks/run.py

# The long forms: run before an issue is called done; CI runs their short forms as tests.
campaigns: $(READY)
	$(BIN)/python benchmarks/kill.py --kills 200
	RSI_HOSTILE=2000 RSI_INBOX_KILLS=25 $(BIN)/pytest tests/web/test_hostile.py tests/adapters/test_inbox.py
	RSI_SANDBOX_LONG=1 RSI_SANDBOX_EXAMPLES=200 $(BIN)/pytest tests/sandbox/test_overlay_model.py tests/sandbox/test_overlay_durable.py --timeout 3600
	RSI_TARGETS=10000 $(BIN)/pytest tests/fix/test_targets_generated.py --timeout 5400
	$(BIN)/python tests/frameworks/run.py
	$(BIN)/python benchmarks/demo.py --seeds 20
	$(BIN)/python benchmarks/verdict.py --long
	$(BIN)/python benchmarks/fleet.py --seeds 5

bench: $(READY)
	$(BIN)/python benchmarks/peer.py
	$(BIN)/python benchmarks/guard.py
	$(BIN)/python benchmarks/sandbox.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
