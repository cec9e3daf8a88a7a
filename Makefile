# `make serve` and `make test` are all one needs to know; `make help` lists the rest. Everything is in .venv.
# Programs are started as modules: their scripts name the folder that they were installed in.
PYTHON ?= python3
RUN := .venv/bin/python

# With it in the caller's environment, each of hundreds of test processes would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test torture bench lint docs clean help environment environment-dev

serve: environment  ## serve a package index on port 8080, with its packages in ./pyoci-data
	$(RUN) -m pyoci serve

test: environment-dev  ## run all tests; ARGS="tests/web -x" passes arguments to pytest
	$(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

torture: environment-dev  ## run the long tests against faults and hostile input
	$(RUN) -m pytest tests/torture $(ARGS)

bench: environment-dev  ## measure PyOCI beside other package indexes
	$(RUN) -m benchmarks $(ARGS)

lint: environment-dev  ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: environment-dev  ## build the documents into build/html, and print the address of the first page
	$(RUN) -m sphinx -W -n --keep-going -q -c docs . build/html
	@echo "The documents are in $(CURDIR)/build/html/docs/index.html"

clean:  ## remove .venv and everything that was built
	rm -rf .venv build dist *.egg-info

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1	/p' Makefile | expand -t 16

environment:
	@$(PYTHON) .ci/environment.py

environment-dev:
	@$(PYTHON) .ci/environment.py dev
