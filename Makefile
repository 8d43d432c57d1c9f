# `make test` and `make phase-transition` need Python 3.11-3.13 and nothing else: each
# makes .venv and installs what it needs on the first call.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS_READY := .venv/.ready-docs

SIZE ?= quick

.PHONY: test test-all test-long lint lint-check docs docs-serve phase-transition results \
	figures benchmarks flow-thresholds clean

# What CI runs: the core, some five minutes on two idle cores.
test: lint-check
	$(BIN)/python -m pytest -n 2 -m "not slow and not long"

# Everything but what takes hours: kills by the dozen, large samples, whole figures.
test-all: lint-check $(DOCS_READY)
	$(BIN)/python -m pytest -n 2 -m "not long"

test-long: $(READY)
	$(BIN)/python -m pytest -n 2 -m long

lint-check: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, into build/site; a link or a name that leads nowhere is an error.
docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-serve: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# Into output/, which is not committed. Commands of the experiments keep the programs that
# they compile in .cache/jax.
phase-transition: $(READY)
	$(BIN)/python -m experiments.figures.phase_transition

# All that is committed in results/ but the benchmarks: many hours. The long ones go on
# where they were cut off.
OPEN_QUESTIONS := conjecture teachers small_initialisation \
	from_orthogonal_to_correlated many_neurons without_assumption_1
KNOWN_RESULTS := early_alignment edge_of_stability saddle_to_saddle second_layer_collapse
results: $(READY) $(DOCS_READY)
	$(BIN)/python -m experiments.figures.phase_transition \
		--output results/phase_transition
	$(BIN)/python -m experiments.figures.concepts
	for name in $(KNOWN_RESULTS); do \
		$(BIN)/python -m experiments.known_results.$$name || exit 1; done
	for name in teacher_student digits; do \
		$(BIN)/python -m experiments.gallery.$$name || exit 1; done
	$(BIN)/python -m experiments.theory_checks
	for name in $(OPEN_QUESTIONS); do \
		$(BIN)/python -m experiments.open_questions.$$name --size full || exit 1; done
	$(MAKE) figures SIZE=full
	$(BIN)/python -m experiments.open_questions.linear_threshold --size full

# Figures 2 to 5 under each protocol, and descent for as long as the flow; `make
# figures SIZE=full` is the whole of it, which takes hours and goes on where it was cut
# off.
figures: $(READY)
	for figure in 5 2 3 4; do for protocol in released paper; do \
		$(BIN)/python -m experiments.figures.figure$$figure --protocol $$protocol \
			--size $(SIZE) || exit 1; done; done
	$(BIN)/python -m experiments.figures.figure5 --protocol flow --size $(SIZE)
	for figure in 2 3 4; do for protocol in paper flow; do \
		$(BIN)/python -m experiments.figures.figure$$figure --protocol $$protocol \
			--given-up 4 --size $(SIZE) || exit 1; done; done
	for options in "released" "paper" "paper --learning-rate 0.5"; do \
		$(BIN)/python -m experiments.figures.figure2 --width 4 --protocol $$options \
			--size $(SIZE) || exit 1; done
	$(BIN)/python -m experiments.figures.figure2 --protocol flow --width 4 --given-up 1 \
		--size $(SIZE)
	$(BIN)/python -m experiments.figures.certified --size $(SIZE)
	$(BIN)/python -m experiments.figures.report

# Figures 3 and 4 of the flow, past the certificate until each run is decided: hours,
# and goes on where it was cut off. No more than 24 runs for each N.
flow-thresholds: $(READY)
	for figure in 3 4; do $(BIN)/python -m experiments.figures.figure$$figure \
		--protocol flow --size full --max-runs 24 || exit 1; done
	$(BIN)/python -m experiments.figures.flow_law
	$(BIN)/python -m experiments.figures.report

# Everything that is timed, on an otherwise idle machine: some hours, one of which are
# the paper's figures. pip takes the highest version of both indices, and 2.9+cpu counts
# as higher than PyPI's 2.9, which on Linux brings CUDA along.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
benchmarks: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt --extra-index-url $(TORCH_INDEX) -e '.[peers]'
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[experiments,test]'
	touch $@

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build output .cache
