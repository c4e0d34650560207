# make run: set-up and the main job on the embedded default · make test: set-up and the tests
PYTHON ?= python3.11
PIP_EXTRA ?=
BIN = .venv/bin

run: setup
	$(BIN)/probing run

test: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# the committed table of the eight xprobe-en tasks; DATA names the folder of their files
table: setup
	$(BIN)/python scripts/results/main_table.py $(DATA) results/xprobe-en-minilm pooling=mean twins=5

# the documentation, in site/
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# the pages of the tutorials, from their scripts, with output and pictures
tutorials: setup
	$(BIN)/python scripts/docs/tutorials.py docs/tutorials

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq -c constraints.txt $(PIP_EXTRA) -e '.[test]'
	touch .venv/.done

.PHONY: run test lint table docs tutorials setup
