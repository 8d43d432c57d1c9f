# `make test` and `make phase-transition` need Python 3.11-3.13 and nothing else: each
# makes .venv and installs what it needs on the first call.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: test test-all lint phase-transition clean

test: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(READY)
	$(BIN)/python -m pytest -n 2

phase-transition: $(READY)
	$(BIN)/python -m experiments.phase_transition

lint: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[experiments,test]'
	touch $@

clean:
	rm -rf .venv
