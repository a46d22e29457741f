"""The page of the git hook is what is typed on the box and at a desk, and what appears."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT, consoles
from tests.pipelines.box import Box
from tests.pipelines.example import ENVIRONMENT, commit, git, write
from tests.pipelines.test_push import CLOSED

PAGE = "docs/how-to/git-hook.md"
PLACE = "/srv/git/lab.git"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    found = Box(tmp_path / "box")
    yield found
    found.close()


def file() -> str:
    found = re.findall(
        r"^```toml\n# .mayfly.toml\n(.*?)^```", (ROOT / PAGE).read_text(), re.MULTILINE | re.DOTALL
    )
    (text,) = found
    return str(text)


def test_the_page_is_what_is_typed_and_what_appears(box: Box, tmp_path: Path) -> None:
    bare, desk = tmp_path / "lab.git", tmp_path / "desk"
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "desk")
    write(desk, ".mayfly.toml", file())
    for stage in ("vit", "bert"):
        write(desk, f"stages/{stage}/train.py")
    commit(desk)
    mayfly = shlex.join(
        [sys.executable, str(Path(sys.executable).with_name("mayfly")), "--socket", str(box.path)]
    )
    set_up, first, second = [one for one in consoles() if one.page == PAGE][:3]
    for block, folder in ((set_up, tmp_path), (first, desk), (second, desk)):
        if block is second:
            write(desk, "stages/vit/train.py", "longer")
        for line, shown in block.typed:
            typed = line.replace(f"box:{PLACE}", str(bare)).replace(PLACE, str(bare))
            if typed.startswith("mayfly "):
                typed = f"{mayfly} {typed.removeprefix('mayfly ')}"
            done = subprocess.run(
                ["sh", "-ec", typed], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            appeared = [
                line.rstrip()
                for line in (done.stdout + done.stderr).splitlines()
                if CLOSED not in line
            ]
            wanted = [
                re.escape(line.replace(PLACE, str(bare))).replace("…", r"[0-9a-z]+")
                for line in shown
            ]
            assert len(appeared) == len(wanted), appeared
            for found, pattern in zip(appeared, wanted, strict=True):
                assert re.fullmatch(pattern, found), found
    assert [run["subject"] for run in box.runs] == ["x", "Train longer"]
