# `make ride` and `make test` are all that a fresh machine needs.
.PHONY: ride test check carla bench clean setup setup-test
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.10 none; do \
	[ $$p = none ] && echo python3 && break; \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
SEED ?= 1
MAPS ?=
ROBOTAXI := .venv/bin/robotaxi

help:
	@echo "make ride [SEED=n]   install into .venv, then drive one ride from order to drop-off; report in runs/"
	@echo "make test            install into .venv, then run the whole test suite"
	@echo "make carla           the long CARLA set: TrafficManager, agreement, fuzzing, a whole ride; MAPS=\"A.xodr B.xodr\""
	@echo "make check           formatting, lint and types only"
	@echo "make clean           remove .venv and build outputs; runs/ stays"

setup:
	@$(PYTHON) src/install.py

setup-test:
	@$(PYTHON) src/install.py test

ride: setup
	@$(ROBOTAXI) ride --seed $(SEED)

test: setup-test check
	@.venv/bin/python -m pytest

carla: setup-test
	@$(ROBOTAXI) bench carla $(foreach map,$(MAPS),--map $(map)) --json runs/carla.json
	@for map in $(or $(MAPS),town); do $(ROBOTAXI) ride --mode carla --map $$map --seed $(SEED) --record drive || exit 1; done

check: setup-test
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

clean:
	rm -rf .venv build install log *.egg-info src/*.egg-info
