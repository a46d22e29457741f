"""Images that a job's own containers are of: a database, made of Debian's package upon the base image."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
POSTGRES = Path(__file__).with_name("postgres")


def base_image() -> str:
    """The base image of this host's Engine, which is made where it is missing."""
    return _said(str(ROOT / "scripts/base-image"))


@functools.cache
def postgres_image() -> str:
    """The database on this host's Engine; built where none of the same files is there."""
    base = base_image()
    inputs = hashlib.sha256(base.encode())
    for file in sorted(POSTGRES.iterdir()):
        inputs.update(file.read_bytes())
    tag = f"mayfly/test-postgres:{inputs.hexdigest()[:12]}"
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build/test-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = subprocess.run(
            ["docker", "image", "inspect", tag], capture_output=True, check=False
        )
        if there.returncode != 0:
            words = ["docker", "build", "-q", "--network", "host", "--build-arg", f"BASE={base}"]
            done = subprocess.run(
                [*words, "-t", tag, str(POSTGRES)],
                env={**os.environ, "DOCKER_BUILDKIT": "0"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return tag


def _said(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
