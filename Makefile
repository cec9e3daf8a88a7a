# `make serve` and `make test` are all one needs to know. Everything lives in .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: serve test torture bench lint docs clean

serve: $(VENV)/.installed
	$(RUN)/pyoci serve

test: $(VENV)/.installed-dev
	$(RUN)/python -m pytest -n auto --dist loadfile $(ARGS)

torture: $(VENV)/.installed-dev
	$(RUN)/python -m pytest tests/torture $(ARGS)

lint: $(VENV)/.installed-dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

docs: $(VENV)/.installed-dev
	$(RUN)/python -m sphinx -W -n --keep-going -q docs build/docs

bench: $(VENV)/.installed-dev
	$(RUN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PyOCI needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyoci/__init__.py | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyoci/__init__.py | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@touch $@ $(VENV)/.installed
