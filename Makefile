# Every target sets up what it needs. Without make: see "Without make" in README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
MODEL := weights/smollm2-135m-instruct
# Test workers take one thread each; what is timed takes all cores and runs alone.
WORKERS := OMP_NUM_THREADS=1

.PHONY: demo test check lint coverage parity bench eval soak mutants clean model

demo: $(MODEL)/golden.json
	$(BIN)/pml demo --model $(MODEL)

test: lint $(MODEL)/golden.json
	$(WORKERS) $(BIN)/python -m pytest -n 2 --dist worksteal -m "not soak and not parity"

check: lint
	$(WORKERS) $(BIN)/python -m pytest -n 2 -m "not soak and not parity and not fuzz and not model"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every branch of what needs no torch, or it fails.
coverage: $(VENV)/.dev
	$(WORKERS) $(BIN)/python -m pytest tests/pml -m "not fuzz and not soak" --cov --cov-report=term

parity: $(MODEL)/golden.json $(VENV)/.parity
	$(WORKERS) $(BIN)/python -m pytest tests/parity -m parity -s

bench: $(MODEL)/golden.json $(VENV)/.dev $(PEERS)/.made
	$(BIN)/python scripts/bench.py --model $(MODEL)
	$(BIN)/python scripts/bench_batch.py --model $(MODEL)

eval: $(MODEL)/golden.json
	$(WORKERS) $(BIN)/python scripts/evaluate.py

soak: $(MODEL)/golden.json $(VENV)/.dev
	$(WORKERS) HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n 2 --dist worksteal -m "not parity"

mutants: $(VENV)/.dev
	$(BIN)/python scripts/mutants.py

clean:
	rm -rf $(VENV) $(PEERS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

model: $(MODEL)/golden.json

$(MODEL)/golden.json: | $(VENV)/.base
	$(BIN)/python scripts/fetch_model.py

$(VENV)/.base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# What `make bench` compares with: llama.cpp is compiled for this processor, which takes minutes.
$(PEERS)/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[parity]"
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt llama-cpp-python==0.3.36
	touch $@

$(VENV)/.parity: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,parity]"
	# MPT's own code, without the training software that it would bring.
	$(BIN)/python -m pip install --quiet --no-deps llm-foundry==0.22.0
	touch $@
