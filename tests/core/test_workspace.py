"""Where a job starts that brings something: the program that goes there, and whose it is."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mayfly.core import workspace
from mayfly.core.model import Cache, Dataset, PoolName, PoolSecurity, PoolSpec, Removal
from mayfly.core.workspace import (
    FAILED,
    Brought,
    Owner,
    begun_there,
    owner,
    place_of,
    problem_with_pool,
)

RUNNER = b"runner:x:1000:1001::/home/runner:/bin/sh\n"


@pytest.mark.parametrize(
    ("user", "entry", "whose"),
    [
        ("1000", RUNNER, Owner(1000, 1001)),
        ("runner", RUNNER, Owner(1000, 1001)),
        ("1000:50", RUNNER, Owner(1000, 50)),
        ("70000", b"", Owner(70000, 70000)),
        ("70000:7", b"", Owner(70000, 7)),
        ("nobody-knows", b"", None),
        ("nobody-knows", b"a:b:c\n", None),
        *(
            ("runner", f"runner:x:{number}:1::/:/\n".encode(), None)
            for number in ("²", "-1", "9" * 12, "9" * 5000, 2**32 - 1)
        ),
    ],
)
def test_the_tree_is_whose_the_job_is(user: str, entry: bytes, whose: Owner | None) -> None:
    assert owner(user, entry) == whose


def ran(tmp_path: Path, *argv: str, stdin: bool) -> subprocess.CompletedProcess[bytes]:
    brought = Brought(1000, None, "d" if stdin else None)
    words = list(begun_there(argv, brought))
    places = {workspace.WORKSPACE: tmp_path / "w", workspace.STDIN: tmp_path / "in"}
    words[3:5] = [str(places.get(word, word)) for word in words[3:5]]
    return subprocess.run(words, capture_output=True, check=False, cwd="/", env={"PATH": "/bin"})


def test_the_job_starts_there_with_its_input_and_its_words_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "in").write_bytes(b"typed\n")
    words = ("sh", "-c", 'pwd; cat; printf "<%s>" "$@"; env', "x", "a b", "", "-n", "$HOME", "*")
    done = ran(tmp_path, *words, stdin=True)
    text = done.stdout.decode()
    assert text.startswith(f"{tmp_path}/w\ntyped\n<a b><><-n><$HOME><*>")
    assert "OLDPWD" not in text
    assert ran(tmp_path, "sh", "-c", "cat; exit 3", stdin=False).returncode == 3
    assert ran(tmp_path, "no-such-program", stdin=False).returncode == 127


def test_a_job_whose_folder_is_not_there_does_not_start_elsewhere(tmp_path: Path) -> None:
    done = ran(tmp_path, "echo", "started", stdin=False)
    assert (done.returncode, done.stdout) == (FAILED, b"")


@pytest.mark.parametrize(
    ("pool", "takes", "told"),
    [
        ({}, True, None),
        ({"removal": Removal.MANAGER}, True, None),
        ({"removal": Removal.ENGINE}, False, None),
        ({"removal": Removal.ENGINE}, True, 'removal = "engine"'),
        ({"security": PoolSecurity(read_only=True)}, False, "security.read_only"),
        ({"security": PoolSecurity(tmpfs={"/workspace": 1})}, False, "it mounts /workspace"),
        ({"caches": (Cache("/srv/c", "/workspace/cache"),)}, False, "it mounts /workspace/cache"),
        ({"datasets": (Dataset("/srv/d", "/workspace"),)}, False, "it mounts /workspace"),
        ({"datasets": (Dataset("/srv/d", "/workspaces"),)}, True, None),
    ],
)
def test_a_pool_whose_agents_cannot_have_it_says_so(
    pool: dict[str, Any], takes: bool, told: str | None
) -> None:
    problem = problem_with_pool(PoolSpec(PoolName("p"), **pool), takes=takes)
    assert (problem is None) is (told is None)
    assert told is None or told in (problem or "")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("results/", "/workspace/results"),
        ("./a//b/.", "/workspace/a/b"),
        (".", "/workspace"),
        ("/tmp/x/", "/tmp/x"),
        ("/", "/"),
    ],
)
def test_a_path_is_from_where_the_job_starts_or_absolute(path: str, place: str) -> None:
    assert place_of(path) == place
