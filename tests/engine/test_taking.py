"""Which paths of an ended container are taken, by what the Engine says of each step."""

from __future__ import annotations

import base64
import json

import pytest

from mayfly.engines.docker.taking import DIRECTORY, LINK, mounted_places, problem_with_step

MOUNTED = ("/datasets/private", "/proc", "/run/mayfly")
OPEN, SHUT, FILE = DIRECTORY | 0o755, DIRECTORY | 0o700, 0o644


def said(mode: int) -> str:
    return base64.b64encode(json.dumps({"name": "x", "mode": mode}).encode()).decode()


@pytest.mark.parametrize(
    ("step", "mode", "path", "told"),
    [
        ("/workspace", OPEN, "/workspace/results", None),
        ("/workspace/results", OPEN, "/workspace/results", None),
        ("/workspace/results", SHUT, "/workspace/results/x", None),
        ("/home/runner", SHUT, "/home/runner/x", None),
        ("/tmp/r.xml", FILE, "/tmp/r.xml", None),
        ("/workspace/results", LINK | 0o777, "/workspace/results/x", "is a link"),
        ("/workspace/results", LINK | 0o777, "/workspace/results", "is a link"),
        ("/root", SHUT, "/root/.netrc", "not for every user to enter"),
        ("/tmp/r.xml", FILE, "/tmp/r.xml/x", "no such file or directory"),
        ("/datasets/private", OPEN, "/datasets/private/x", "is mounted there"),
        ("/datasets/private/x", OPEN, "/datasets/private/x", "is mounted there"),
        ("/datasets", OPEN, "/datasets/other", None),
        ("/run/mayfly", SHUT, "/run/mayfly/w", "is mounted there"),
    ],
)
def test_nothing_is_taken_through_a_link_or_of_a_mount_or_of_root(
    step: str, mode: int, path: str, told: str | None
) -> None:
    problem = problem_with_step(said(mode), step, path, MOUNTED)
    assert (problem is None) is (told is None)
    assert told is None or told in (problem or "")


@pytest.mark.parametrize("odd", ["", "!", "e30=", base64.b64encode(b"[1]").decode()])
def test_what_the_engine_says_otherwise_is_taken_for_no_file(odd: str) -> None:
    assert problem_with_step(odd, "/tmp/x", "/tmp/x", ()) is not None
    assert problem_with_step(None, "/tmp/x", "/tmp/x", ()) is not None


def test_places_in_memory_and_of_the_host_are_mounted() -> None:
    seen = {
        "Mounts": [{"Destination": "/datasets/a/"}, {}],
        "HostConfig": {"Tmpfs": {"/tmp": "", "/run/mayfly": ""}},
    }
    found = mounted_places(seen)
    assert {"/datasets/a", "/tmp", "/run/mayfly", "/proc", "/sys", "/dev"} == set(found)
    assert "/" not in mounted_places({})
