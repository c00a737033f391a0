# The two commands for a fresh machine with Python 3.11, git and make:
#   make demo   installs the product, draws at once, and goes the whole way on real mammograms in ten minutes of two free cores
#   make test   runs the test suite
# And: make docs builds the documentation into docs/_build/html, notebooks and all; make check is lint and test.
# Another Python or torch: make demo PYTHON=python3.12 TORCH='torch==2.12.0'
# The newest versions of all packages, pinned by nothing, in .venv-newest: make test-newest PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
NEWEST_TORCH ?= torch
CONSTRAINTS ?= constraints.txt

BIN := $(VENV)/bin
FOLDERS := manifests shards preprocess models cvae train generate evaluate

.PHONY: demo test test-newest tiny-model check lint docs clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py --out demo

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-newest:
	$(MAKE) test VENV=$(VENV)-newest TORCH='$(NEWEST_TORCH)' CONSTRAINTS=/dev/null

tiny-model: $(VENV)/installed
	$(BIN)/python examples/tiny_model.py --out tiny-model

check: lint test

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

docs: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -j 2 -b html docs docs/_build/html

$(VENV)/installed: setup.cfg setup.py pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	sed '/^torch==/d' $(CONSTRAINTS) > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt '$(TORCH)' --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-newest demo tiny-model docs/_build
