# Every command of development. Nothing is needed but Debian 12 with git, make and python3: `make setup`, on which the
# others depend, installs the rest (and says how, where it may not).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Python keeps what it compiles, whatever the environment says: otherwise every start of a program here compiles it all anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup lint format test test-kvm fuzz fuzz-api reference bench demo clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install Debian packages and .venv; quick when nothing is missing
	@scripts/setup

lint: setup ## ruff, mypy, pyright, import contracts, the guest agent's compiler
	@scripts/lint

format: setup ## let ruff put the code in order
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

test: setup ## every test, then each plugin's with that plugin alone; ARGS='-k name' chooses
	@scripts/test $(ARGS)

test-kvm: setup ## the tests that need KVM: on it, or where it does not work in a sandbox that has it
	@scripts/test-kvm $(ARGS)

FUZZ_S ?= 60
fuzz: setup ## fuzz each parser for FUZZ_S=60 seconds; ARGS='tar agent' chooses, ARGS=--coverage counts branches
	@scripts/setup --fuzz
	@.venv/bin/python -m scripts.fuzz --seconds $(FUZZ_S) $(ARGS)

reference: setup ## write what of the documents comes from the code
	@.venv/bin/python -m scripts.cli_reference
	@.venv/bin/python -m scripts.options_reference
	@.venv/bin/python -m scripts.combinations_reference
	@.venv/bin/python -m scripts.interface_reference

bench: setup ## the benchmark against peers, as a table; ARGS='--quick --json out.json'
	@.venv/bin/python -m scripts.bench $(ARGS)

fuzz-api: setup ## schemathesis against the served OpenAPI document; ARGS='--seconds 60'
	@.venv/bin/python -m scripts.fuzz_api $(ARGS)

demo: setup ## an image from a registry, run in a microVM
	@.venv/bin/python -m scripts.demo

clean: ## remove what builds, tests and demo left in the checkout
	@scripts/clean

distclean: ## as clean, and .venv and every cache
	@scripts/clean --all
