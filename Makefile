# Every target does its own set-up, does nothing twice, and says in one sentence what is missing where it cannot go on.

.PHONY: help venv image demo test lint bench soak

help:
	@echo 'make demo    real jobs through two slots on this machine'
	@echo 'make test    the tests, on a real Docker Engine'
	@echo 'make bench   the numbers, into build/bench.json'
	@echo 'make soak    jobs while manager, Engine and containers fail at random'
	@echo 'make lint    ruff, mypy, shellcheck, hadolint'
	@echo 'make venv    .venv with mayfly in it'
	@echo 'make image   the agent image mayfly/local:cpu'

venv:
	@scripts/venv

image:
	@scripts/image

demo:
	@scripts/demo

test:
	@scripts/test

lint:
	@scripts/lint

bench: venv image
	@.venv/bin/python -m tests.bench

# JOBS, SEED, SLOTS, STEPS, FUZZ; PROVIDER=github (azure, gitlab) through that service's fake.
soak:
	@scripts/soak
