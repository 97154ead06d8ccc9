# `make demo` and `make test` each work on a fresh machine with Python >= 3.11; nothing else is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --disable-pip-version-check -q -c constraints.txt

.PHONY: demo test optional lint clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

demo: $(BIN)/python
	$(PIP) .
	bash examples/demo.sh $(BIN)/python

test: $(BIN)/python
	$(PIP) ".[test]"
	$(BIN)/pytest

# rivaGan and the peer of the watermark tests; without its own requirements, which bring torch and a second OpenCV
optional: $(BIN)/python
	$(PIP) onnxruntime PyWavelets
	$(PIP) --no-deps invisible-watermark==0.2.0

lint: $(BIN)/python
	$(PIP) ".[test]"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p countermark

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache
