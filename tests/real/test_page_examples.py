"""The examples of the services' pages, in the images that the pages build: their lines, on a small library.

An image has what the `PACKAGES` of its page name, and a stub in place of the client; `nvidia-smi` and data
are put in as NVIDIA's runtime and Mayfly do it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.images import STUBS, image_with
from tests.providers.test_examples import EXAMPLES, packages_of, read

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(1800)]
LIBRARY = {
    "pyproject.toml": '[project]\nname = "library"\nversion = "1"\n'
    '[project.optional-dependencies]\ntest = ["pytest"]\n[tool.setuptools]\npackages = ["library"]\n',
    "library/__init__.py": "ANSWER = 42\n",
    "tests/test_library.py": "import library\n\n\ndef test_it() -> None:\n    assert library.ANSWER == 42\n",
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `docker run` is told so that pip finds its registry, as here; skipped where none answers."""
    pip = [sys.executable, "-m", "pip"]
    place = tmp_path_factory.mktemp("fetched")
    asked = subprocess.run(
        [*pip, "download", "-q", "--no-deps", "-d", place, "iniconfig"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        pytest.skip(f"no registry of Python packages answers: {asked.stderr[-200:]}")
    told: list[str] = []
    for key, variable in (("index-url", "PIP_INDEX_URL"), ("trusted-host", "PIP_TRUSTED_HOST")):
        said = subprocess.run(
            [*pip, "config", "get", f"global.{key}"], capture_output=True, text=True, check=False
        )
        if said.returncode == 0:
            told += ["-e", f"{variable}={said.stdout.strip()}"]
    trusted = os.environ.get("PIP_CERT")
    if trusted:
        told += ["-v", f"{trusted}:/etc/registry.pem:ro", "-e", "PIP_CERT=/etc/registry.pem"]
    return told


@pytest.mark.parametrize("service", sorted(STUBS))
def test_an_example_runs_in_the_image_that_its_page_builds(
    service: str, registry: list[str], tmp_path: Path
) -> None:
    stub = replace(STUBS[service], arguments={"PACKAGES": packages_of(service)})
    tag = image_with(service, stub, f"mayfly/{service}:example-{stub.version}")
    work, tools = tmp_path / "work", tmp_path / "nvidia-smi"
    for name, text in LIBRARY.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    for path in (work, *work.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    tools.write_text("#!/bin/sh\necho 'GPU 0: none'\n")
    tools.chmod(0o755)
    tmp_path.chmod(0o755)
    words = ["docker", "run", "--rm", "--network", "host", "--user", "1000", "-w", "/work"]
    words += ["-v", f"{work}:/work", "-v", f"{tools}:/usr/bin/nvidia-smi:ro"]
    words += ["-e", "IMAGENET_DIR=/tmp", "-e", "HOME=/home/runner", *registry]
    script = "\n".join(EXAMPLES[service].lines(read(service)))
    done = subprocess.run(
        [*words, "--entrypoint", "/bin/bash", tag, "-e", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "GPU 0: none" in done.stdout
    assert "1 passed" in done.stdout
