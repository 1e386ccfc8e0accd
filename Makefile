# One command each, the same here and in CI. `make` lists them.

PYTHON = .venv/bin/python
# Options for pytest, such as ARGS='-k rename -x'.
ARGS =
# Processes that share the tests; most of their time is waiting. A module's tests mostly stay together.
JOBS = 3
# Minutes for a rotating share of the long tests; empty: all of them.
SHARE =

.DEFAULT_GOAL = help
.PHONY: help demo demo-stop test test-long lint bench docs examples

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'

demo: ## mount a drive at ./mnt over an emulator of Discord
	@scripts/setup runtime
	@scripts/demo start

demo-stop: ## upload what is left, unmount, end the emulator
	@scripts/demo stop

test: ## all tests but the long ones
	@scripts/setup dev
	$(PYTHON) -m pytest -m 'not long and not live' -n $(JOBS) --dist worksteal $(ARGS)

test-long: ## the long tests; SHARE=30 runs today's share of them, for 30 minutes at most
	@scripts/setup dev
	$(PYTHON) -m pytest -m 'long and not live' $(if $(SHARE),--rotate --time-box $(SHARE)) $(ARGS)

lint: ## ruff and mypy
	@scripts/setup dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: ## measure; results in bench/results/
	@scripts/setup dev
	$(PYTHON) -m bench $(ARGS)

docs: ## write what documents take from the code: the commands' help, the life of an extent
	@scripts/setup runtime
	$(PYTHON) scripts/document_commands.py
	$(PYTHON) scripts/document_life.py

examples: ## make examples/ again: an archive of the seeded emulator
	@scripts/setup runtime
	$(PYTHON) scripts/make_examples.py
