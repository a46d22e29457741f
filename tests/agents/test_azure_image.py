"""The image targets of .NET's clients, built from an archive on this host by the Engine's own builder."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.fakes.azure_agent import VERSION, archive
from tests.images import ROOT, _has_buildx, _said, served, stub_image

pytestmark = pytest.mark.engine


def build(checksum: str, version: str = VERSION) -> subprocess.CompletedProcess[str]:
    """The how-to's command, against this host's archive."""
    environment = {} if _has_buildx() else {"DOCKER_BUILDKIT": "0"}
    with served(archive()) as url:
        given = {
            "WANTED": "azure",
            "BASE": _said(str(ROOT / "scripts/base-image")),
            "PACKAGES": "",
            "AGENT_VERSION": version,
            "AGENT_SHA256": checksum,
            "AGENT_URL": url,
        }
        words = ["docker", "build", "-q", "--network", "host", "-f", "dockerfiles/Dockerfile"]
        words += ["--target", "azure"]
        for name, value in given.items():
            words += ["--build-arg", f"{name}={value}"]
        return subprocess.run(
            [*words, "."],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )


def test_an_archive_with_another_checksum_is_refused() -> None:
    done = build("0" * 64)
    assert done.returncode != 0
    assert "FAILED" in done.stdout + done.stderr


@pytest.mark.parametrize("provider", ["azure", "github"])
def test_what_dotnet_needs_is_in_the_image_on_the_default_base(provider: str) -> None:
    """By the names of the base: the archives' own scripts know other releases."""
    words = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "/sbin/ldconfig")
    there = _said(*words, stub_image(provider), "-p")
    for library in ("libicuuc", "libssl", "libgssapi_krb5", "libz", "liblttng-ust"):
        assert f"\t{library}.so" in there, library


def test_a_build_without_a_version_says_what_is_missing() -> None:
    done = build("0" * 64, version="")
    assert done.returncode != 0
    assert "AGENT_VERSION=4.N.N" in done.stdout + done.stderr
