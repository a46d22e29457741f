"""Images that a job's own containers are of, made of Debian's packages upon the base image: a database, and a
builder by the file that the page has.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/how-to/containers.md"
POSTGRES = Path(__file__).with_name("postgres")


def base_image() -> str:
    """The base image of this host's Engine, which is made where it is missing."""
    return _said(str(ROOT / "scripts/base-image"))


@functools.cache
def postgres_image() -> str:
    """The database on this host's Engine; built where none of the same files is there."""
    base = base_image()
    inputs = [base.encode(), *(file.read_bytes() for file in sorted(POSTGRES.iterdir()))]
    return _built("postgres", inputs, ["--build-arg", f"BASE={base}", str(POSTGRES)])


@functools.cache
def builder_image() -> str:
    """The same of the builder, by the lines that the page has for it."""
    base = base_image()
    (lines,) = re.findall(r"```dockerfile\n(FROM .*?)```", PAGE.read_text(), re.DOTALL)
    said = re.sub(r"^FROM .*$", f"FROM {base}", lines, count=1, flags=re.MULTILINE)
    return _built("builder", [said.encode()], ["-"], said)


def _built(name: str, inputs: Iterable[bytes], words: Sequence[str], typed: str = "") -> str:
    digest = hashlib.sha256(b"".join(inputs)).hexdigest()
    tag = f"mayfly/test-{name}:{digest[:12]}"
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / f"build/test-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = subprocess.run(
            ["docker", "image", "inspect", tag], capture_output=True, check=False
        )
        if there.returncode != 0:
            done = subprocess.run(
                ["docker", "build", "-q", "--network", "host", "-t", tag, *words],
                env={**os.environ, "DOCKER_BUILDKIT": "0"},
                input=typed,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return tag


def _said(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
