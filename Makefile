# `make demo` and `make test` set everything up by themselves: a virtual environment in .venv and the packages.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

LOCK := requirements.lock

.PHONY: help setup locked lock demo test check format build bench gpu docs clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## the virtual environment and the packages (5.6 GB with CUDA)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("blocklearn needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet --editable '.[dev]'
	@touch $(READY)

locked:  ## the same with exactly the packages of requirements.lock (Linux, Python 3.11), their hashes checked
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

lock: $(READY)  ## make requirements.lock anew, from what pyproject.toml allows today
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra docs --generate-hashes --upgrade --python-version 3.11 \
	    --no-header --no-emit-index-url --no-emit-find-links --quiet --output-file $(LOCK)

demo: $(READY)  ## blockwise against end to end and untrained on digits: a table and a picture, 1 to 2 minutes
	$(BIN)/blocklearn demo

test: $(READY) check docs  ## lint, types, spelling, documentation and the test suite on the CPU
	$(BIN)/python -m pytest -n 2

check: $(READY)  ## lint, types and spelling only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/codespell

format: $(READY)  ## mend what lint can mend by itself, and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(READY)  ## the source distribution and the wheel, in dist/
	$(BIN)/python -m pip install --disable-pip-version-check --quiet build twine
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

bench: $(READY)  ## speed and memory against named baselines
	$(BIN)/python -m benchmarks

# Nothing is installed: the environment if there is one, else the Python that is there.
FOLDER ?= runs/gpu
gpu:  ## on one NVIDIA GPU: tests, speed, candidates, CIFAR-10 (DATA=its folder, FOLDER=runs/gpu, ARGS=further flags)
	PYTHONPATH=. $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu --folder $(FOLDER) \
	    $(if $(DATA),--data $(DATA)) $(ARGS)

docs: $(READY)  ## the documentation as pages, in site/; a link that leads nowhere is an error
	$(BIN)/zensical build --strict --clean

clean:  ## remove the virtual environment and caches
	rm -rf .venv .pytest_cache .ruff_cache site
