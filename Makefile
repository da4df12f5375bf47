SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
# Three processes for two cores, since many tests wait for processes that they have started. A file stays in one of them,
# so that its tests can share what they have made. The order is that of tests/conftest.py, the longest files first, rather
# than that of their numbers of tests.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder
# Names and options of benchmarks, such as "dm matching --rounds 3"; all of them take an hour and a half.
BENCH ?=
STAMP := $(VENV)/.installed

.PHONY: install demo test check bench lock clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/ddctl demo

test: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

bench: install
	$(BIN)/python -m benchmarks $(BENCH)

lock: install
	$(BIN)/pip-compile --quiet --all-extras --strip-extras --no-header --no-annotate --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --output-file constraints.txt pyproject.toml
	# The extras name the project itself, which pip-compile pins by its path.
	sed -i '/^ddservice @ /d' constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info
