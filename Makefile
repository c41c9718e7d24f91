# Each target makes .venv and installs what it needs; torch comes first so that nothing else chooses its build.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
OUT ?= runs

.PHONY: venv quickstart real-model gpu-real-model docs test test-all test-verl test-verl-all test-viewers lint bench gpu-check clean

venv: $(VENV)/.dev

$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[trl,report]'
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --editable '.[dev]'
	touch $@

quickstart: $(VENV)/.run
	$(BIN)/simko quickstart --out $(OUT)/quickstart

real-model: $(VENV)/.run
	$(PIP) --editable '.[trl,report,gguf]'
	$(BIN)/simko real-model --out $(OUT)/real-model

# One GPU. Each call runs at most 9 minutes and goes on where the last one stopped, until status has nothing left. Needs what
# `simko[trl,eval]` installs, of .venv or else of $(PYTHON). GSM8K: a carried file (id, problem, answer); without it the hub's.
PROTOCOL ?= src/simko/studies/head_to_head/gsm8k.yaml
HERE = PYTHONPATH=src $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
gpu-real-model: runs/gsm8k/test.jsonl
	$(HERE) -m simko.cli study run $(PROTOCOL) --out $(OUT)/gpu-real-model --workers 1 --minutes 8
	$(HERE) -m simko.cli study status $(PROTOCOL) --out $(OUT)/gpu-real-model

runs/gsm8k/test.jsonl:
	$(HERE) benchmarks/gsm8k_files.py $(if $(GSM8K),--file $(GSM8K))

test: venv
	$(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

test-all: venv
	$(BIN)/pytest -n 2 --dist worksteal

# verl asks for other versions than TRL, so that it has an environment of its own.
VERL := .venv-verl
VERL_PIP := $(VERL)/bin/pip install --quiet --disable-pip-version-check

$(VERL)/.run: constraints.txt constraints-verl.txt pyproject.toml
	test -x $(VERL)/bin/python || $(PYTHON) -m venv $(VERL)
	$(VERL_PIP) "$$(grep '^torch==' constraints.txt)"
	$(VERL_PIP) --no-deps --requirement constraints-verl.txt
	$(VERL_PIP) --editable . --no-deps
	touch $@

test-verl: $(VERL)/.run
	$(VERL)/bin/pytest tests/adapters/verl -m 'not slow'

test-verl-all: $(VERL)/.run
	$(VERL)/bin/pytest tests/adapters/verl

# inspect_ai asks for other versions too. trackio asks for an older Pillow than that of .venv, with which it works as well.
INSPECT := .venv-inspect

$(INSPECT)/.run: constraints-inspect.txt
	test -x $(INSPECT)/bin/python || $(PYTHON) -m venv $(INSPECT)
	$(INSPECT)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-inspect.txt
	touch $@

$(VENV)/trackio: $(VENV)/.torch
	$(PIP) --no-deps --target $@ trackio==0.43.0 brotli==1.2.1 gradio-client==2.7.2 httpcore==1.0.9 httpx==0.28.1 \
		orjson==3.13.0 python-multipart==0.0.34

test-viewers: venv $(INSPECT)/.run $(VENV)/trackio
	PYTHONPATH=$(VENV)/trackio $(BIN)/pytest tests/evaluate/test_inspect_viewer.py tests/adapters/test_traces.py

# Warnings are errors. The site is build/site/index.html.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv $(VENV)/peers
	$(BIN)/python benchmarks/trl_step.py --json $(OUT)/trl_step.json
	$(BIN)/python benchmarks/token_stats.py --peers $(VENV)/peers --trl-step $(OUT)/trl_step.json

# Only their heads are measured, which need none of what these packages install.
$(VENV)/peers: $(VENV)/.torch
	$(PIP) --no-deps --target $@ verl liger-kernel

# Needs torch, triton and jaxtyping alone, of .venv or else of $(PYTHON); PEERS: a folder of other libraries to measure.
gpu-check:
	$(HERE) benchmarks/gpu_check.py $(if $(PEERS),--peers $(PEERS))

clean:
	rm -rf $(VENV) $(VERL) $(INSPECT) build dist
