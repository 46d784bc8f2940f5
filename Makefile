# The two commands of a newcomer are `make demo` and `make test`; both make .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin

demo: .venv/installed
	$(BIN)/medrobust demo --out demo

test: .venv/installed-dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints/cpu.txt
	$(BIN)/pip install --quiet --constraint constraints/cpu.txt --editable .
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints/cpu.txt
	$(BIN)/pip install --quiet --constraint constraints/cpu.txt --editable '.[dev]'
	touch $@ .venv/installed

.PHONY: demo test
