# Every target does its own set-up, does nothing twice, and says in one sentence what is missing where it cannot go on.

.PHONY: help venv wheel deb release image manager-image demo check test test-real test-gpu test-kubernetes kube-lab lint docs bench soak coverage

help:
	@echo 'make demo      real jobs through two slots on this machine'
	@echo 'make check     the tests that need no Docker Engine'
	@echo 'make test      all tests, on real Docker Engines'
	@echo 'make test-real against a real Gitea, a real Slurm, and the SDKs of others'
	@echo 'make test-gpu  on a real NVIDIA GPU, where this host has one'
	@echo 'make test-kubernetes  on a real Kubernetes of one node, 200 jobs with faults too'
	@echo 'make coverage  the tests of make check, and which lines they ran'
	@echo 'make bench     the numbers, into build/bench.json'
	@echo 'make soak      jobs while manager, Engine and containers fail at random'
	@echo 'make lint      ruff, mypy, shellcheck, hadolint'
	@echo 'make docs      the pages as a site, into build/docs/site'
	@echo 'make venv      .venv with mayfly in it'
	@echo 'make wheel     the package and its source archive, into dist/'
	@echo 'make deb       the Debian package, into dist/'
	@echo 'make release   all that a release is, of the tag that is checked out'
	@echo 'make image     the agent image mayfly/local:cpu'
	@echo 'make manager-image  the manager as an image, for a cluster'

venv:
	@scripts/venv

wheel:
	@scripts/wheel

# Publishes nothing. CONTRIBUTING.md has the list of what to do before and after.
release:
	@scripts/release

deb:
	@scripts/deb

image:
	@scripts/image

manager-image:
	@scripts/manager-image

demo:
	@scripts/demo

check:
	@scripts/check

# WORKERS=6; ENGINE=28, or another release of Docker Engine, for the Engines that the tests start; ENGINE=FOLDER of its programs.
test:
	@scripts/test

# WORKERS=1. Gitea's server and runner are built first, once: several minutes; the SDKs of others are fetched: a minute or two.
test-real:
	@scripts/test-real

# MAYFLY_GPU_SETTINGS=1 locks and unlocks the GPU's clocks and resets it, too. Without a GPU all of them are left out, and counted.
test-gpu:
	@scripts/test-gpu

# What the next target needs: a Kubernetes, built once. Twenty minutes of one processor.
kube-lab:
	@scripts/kubernetes

# JOBS=200, SEED: of the soak in it. REAL=there does only what was built before, and no soak.
test-kubernetes:
	@scripts/test-kubernetes

coverage:
	@scripts/coverage

lint:
	@scripts/lint

# Fails on a dead link and on a page that docs/README.md does not name. VERSION=0.1: beside the versions that are there.
docs:
	@scripts/docs

# ENGINE=28, or another release of Docker Engine, as above.
bench:
	@scripts/bench

# JOBS, SEED, SLOTS, BURST, STEPS, REQUESTS, FUZZ; PROVIDER=github (azure, gitlab) through that service's fake; PROVIDER=gitea through
# the real one; CONTAINERS=1 with jobs that have containers of their own.
soak:
	@scripts/soak
