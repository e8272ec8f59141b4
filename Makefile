# One command for each habit. `make run` and `make test` set themselves up.
PRESET ?= demo
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests; 0 is one alone, as a debugger needs it. Those of one file stay together, with what they share.
WORKERS ?= 2

.PHONY: run test setup check bench fmt lock clean

run: setup  ## the whole lifecycle on PRESET
	$(BIN)/unveil run --preset $(PRESET)

test: setup  ## every test, in WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

setup: $(STAMP)  ## the environment, from the lock

# torch first and alone: its exact version may come as a CPU build from a local folder pip was told about.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

check: setup  ## style, types, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pip check

bench: setup  ## measurements for docs/results.md
	$(BIN)/python -m benchmarks

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup  ## write the lock from what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:  ## everything that is not in git, but the virtual environment
	rm -rf .unveil build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
