# Everything below works on a machine that has python3 (>= 3.11) with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN := $(BIN)/ssl-single-image
DEMO := runs/demo
BASELINES := $(DEMO)/rotnet,$(DEMO)/supervised,random:alexnet32,scattering,kmeans:alexnet32,source=builtin:astronaut

# Files go to the two workers as they are listed: the longest come first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25

.PHONY: demo test test-all lint docs pictures clean

demo: $(STAMP)  ## every part on a built-in photograph, in a few minutes; a finished part is not run again
	mkdir -p $(DEMO)
	$(RUN) sample --image builtin:astronaut --out $(DEMO)/crops.png
	$(RUN) pretrain --config rotnet:preset=demo,image=builtin:astronaut --workdir $(DEMO)/rotnet --config.checkpoint_every=50 --config.keep=4 \
		--config.probe_every=100 --config.probe_images=400
	$(RUN) pretrain --config supervised:preset=demo,dataset=photos --workdir $(DEMO)/supervised --config.steps=60
	$(RUN) probe --config photos --checkpoint '$(BASELINES)' --workdir $(DEMO)/probe
	$(RUN) probe --config photos --config.kind=ridge --checkpoint $(DEMO)/rotnet@all,random:alexnet32 --workdir $(DEMO)/ridge
	$(RUN) probe --config photos --config.kind=knn --checkpoint $(DEMO)/rotnet,random:alexnet32 --workdir $(DEMO)/knn
	$(RUN) probe --config photos --config.kind=fewshot --checkpoint $(DEMO)/rotnet,random:alexnet32 --workdir $(DEMO)/fewshot
	$(RUN) finetune --config photos --checkpoint $(DEMO)/rotnet,random:alexnet32,none --workdir $(DEMO)/finetune --config.steps=60
	$(RUN) analyse --checkpoint $(DEMO)/rotnet,$(DEMO)/supervised --workdir $(DEMO)/analysis --images 256
	$(RUN) stylize --checkpoint $(DEMO)/rotnet --content builtin:coffee --style builtin:astronaut --size 128 --steps 40 \
		--out $(DEMO)/painted/painted.png
	$(RUN) export --checkpoint $(DEMO)/rotnet --out $(DEMO)/rotnet.safetensors
	$(RUN) report --workdir $(DEMO)/report $(addprefix $(DEMO)/,rotnet supervised probe ridge knn fewshot finetune analysis painted)

test: lint  ## style, types and tests, but for the slow ones: twenty to thirty minutes on two cores
	$(PYTEST) -m "not slow"

test-all: lint  ## style, types and all tests: some minutes and GB more
	$(PYTEST)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

pictures: demo  ## the pictures of README.md
	$(RUN) sample --image builtin:astronaut --out docs/images/crops.webp --count 28 --noalone
	cp $(DEMO)/probe/probe.png docs/images/demo-probe.png

docs: $(VENV)/.docs-installed  ## the documentation as a site; `cd site && python3 -m http.server` shows it with its search
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

$(VENV)/.docs-installed: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[docs]'
	touch $@

clean:  ## everything that is made, except the runs
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@
