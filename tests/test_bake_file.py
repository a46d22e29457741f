"""The bake file, as buildx itself reads it: what it would build is what `mayfly images build` builds."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.image_building import base_of, target_of
from mayfly.core import images
from mayfly.edge.catalogue import catalogue

pytestmark = pytest.mark.fetched
ROOT = Path(__file__).parents[1]
PROVIDERS = ("local", "github", "azure", "gitlab", "gitea")
NAMES = ["cpu", *(images.text(row.cuda) for row in catalogue().rows)]
CLIENTS = {"github": "RUNNER", "azure": "AGENT", "gitlab": "RUNNER", "gitea": "RUNNER"}


@cache
def baked(*targets: str, **variables: str) -> dict[str, Any]:
    """What buildx makes of the bake file: its groups and targets."""
    found = subprocess.run([ROOT / "scripts/buildx"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    done = subprocess.run(
        [found.stdout.strip(), "bake", "-f", "dockerfiles/docker-bake.hcl", "--print", *targets],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def slug(provider: str, name: str) -> str:
    """The target's name in the bake file."""
    return f"{provider}-cpu" if name == "cpu" else f"{provider}-cuda{name.replace('.', '-')}"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_baked_as_the_command_line_builds_it(provider: str, name: str) -> None:
    found = baked("all")["target"][slug(provider, name)]
    target, tag, labels = target_of(name, provider)
    assert (found["target"], found["tags"], found.get("labels", {})) == (target, [tag], labels)
    assert found["dockerfile"] == "dockerfiles/Dockerfile"
    assert found["platforms"] == ["linux/amd64", "linux/arm64"]
    assert found["args"].get("UID") == "1000"
    for architecture in ("amd64", "arm64"):
        base = base_of(catalogue(), name, architecture, "devel", None)
        assert found["args"].get("BASE") == base


def test_nothing_else_is_baked_but_the_image_for_wheels() -> None:
    expected = {slug(provider, name) for provider in PROVIDERS for name in NAMES} | {"wheels"}
    assert set(baked("all")["target"]) == expected
    found = baked("wheels")["target"]["wheels"]
    assert (found["target"], found["tags"], target_of("wheels", "local")[:2]) == (
        "local-wheels",
        ["mayfly/local:wheels"],
        ("local-wheels", "mayfly/local:wheels"),
    )
    of_local = {slug("local", name) for name in NAMES} | {"wheels"}
    assert set(baked()["target"]) == of_local, "the others want versions, so they are no default"


@pytest.mark.parametrize("provider", CLIENTS)
def test_a_client_s_version_and_checksums_reach_the_stage_that_wants_them(provider: str) -> None:
    said = provider.upper()
    given = {f"{said}_VERSION": "1.2.3", f"{said}_SHA256": "aa", f"{said}_SHA256_ARM64": "bb"}
    args = baked(provider, **given)["target"][slug(provider, "12.8")]["args"]
    client = CLIENTS[provider]
    assert {args[f"{client}_{word}"] for word in ("VERSION", "SHA256", "SHA256_ARM64")} == {
        "1.2.3",
        "aa",
        "bb",
    }
    stage = stages()[provider]
    declared = set(re.findall(r"^ARG (\w+)", stage, re.MULTILINE))
    assert set(args) - {"BASE", "DOCKER", "UID"} <= declared
    assert set(re.findall(r"\$\{(\w+):\?", stage)) <= set(args)
    assert f"ARG WANTED={provider}\n" in stage, (
        "what the command line passes is what bake leaves out"
    )


def stages() -> dict[str, str]:
    """The Dockerfile's stages: name -> text."""
    text = (ROOT / "dockerfiles" / "Dockerfile").read_text()
    parts = re.split(r"^FROM \S+ AS (\w[\w-]*)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_registry_flavour_uid_and_platforms_are_variables() -> None:
    found = baked(
        "local-cuda12-8",
        REGISTRY="registry.lab/mayfly",
        FLAVOUR="base",
        UID="1234",
        PLATFORMS="linux/amd64",
    )["target"]["local-cuda12-8"]
    assert found["tags"] == ["registry.lab/mayfly/local:cuda12.8"]
    assert found["platforms"] == ["linux/amd64"]
    assert found["args"]["UID"] == "1234"
    assert found["args"]["BASE"].endswith("-base-ubuntu24.04")
