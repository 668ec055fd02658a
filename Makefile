# One verb each; `make run` and `make test` need nothing before them.
.DEFAULT_GOAL := help
VENV   := .venv
PYTHON := $(VENV)/bin/python
READY  := $(VENV)/.ready
PORT   ?= 8000
# Where the tests keep their data: sqlite (and the central ones on postgresql as well), or all on postgresql.
ENGINE ?= sqlite
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Nothing is fetched at run time, whatever a library might like to look up.
export HF_HUB_OFFLINE = 1
export TRANSFORMERS_OFFLINE = 1

THEMES := $(foreach file,$(sort $(wildcard corpora/themes/*.jsonl)),--data $(file))

.PHONY: help setup run test check train adapt evaluate bench

help:
	@echo "make run       安装（首次）并启动 http://127.0.0.1:$(PORT)"
	@echo "make test      安装（首次）并运行全部检查与测试"
	@echo "make setup check train adapt evaluate bench"

$(READY): requirements.txt pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --requirement requirements.txt
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY)
	@$(VENV)/bin/minsheng models build

run: setup
	$(VENV)/bin/minsheng serve --port $(PORT)

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# A process a core, each with files of its own and one thread for its models.
test: setup check
	@tests/install-chromium
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses auto --dist loadfile --engine $(ENGINE)

train: setup
	$(VENV)/bin/minsheng train themes $(THEMES) --by-file --adaptation models/encoder-delta-v1 --out models/themes-v1
	$(VENV)/bin/minsheng train pairs $(foreach file,$(sort $(wildcard corpora/pairs/train/*.jsonl)),--data $(file)) --out models/pairs-v1
	$(VENV)/bin/minsheng train screening $(foreach file,$(sort $(wildcard corpora/screening/cases/*-dev.jsonl)),--data $(file)) --out models/screening-v1

# Adapts the encoder to the themes corpus: a quarter of an hour on two cores. Everything after it must be trained again.
adapt: setup
	$(VENV)/bin/minsheng train encoder $(THEMES) --by-file --out models/encoder-delta-v1

evaluate: setup
	$(PYTHON) bench/evaluate.py
	$(PYTHON) bench/screening.py

bench: setup
	$(PYTHON) bench/speed.py
	$(PYTHON) bench/compare.py
	$(PYTHON) bench/neighbours.py
	$(PYTHON) bench/candidates.py
	$(PYTHON) bench/lookup.py
	$(PYTHON) bench/own_labels.py
	$(PYTHON) bench/routing.py
	$(PYTHON) bench/topics.py --growth 1773 100000
