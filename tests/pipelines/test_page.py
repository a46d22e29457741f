"""The page is what is typed in its repository and what appears."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import COMMAND
from tests.pages import Console, consoles
from tests.pipelines.example import ENVIRONMENT, commit, repository, write
from tests.service.standin import StandIn, slot, status

PAGE = "docs/how-to/pipelines.md"


def blocks(*numbers: int) -> list[Console]:
    found = [console for console in consoles() if console.page == PAGE]
    return [found[number] for number in numbers]


def typed(line: str, folder: Path, **more: str) -> str:
    """What a shell prints in that folder for a line of the page, where `mayfly` is this checkout's."""
    mayfly = shlex.join(map(str, COMMAND))
    done = subprocess.run(
        [
            "sh",
            "-ec",
            re.sub(r"\bmayfly (?=pipeline|status)", f"{mayfly} ".replace("\\", "\\\\"), line),
        ],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2] / "manager"), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_the_page_types_prints_what_it_shows(tmp_path: Path) -> None:
    folder = repository(tmp_path / "r")
    write(folder, "stages/vision/resnet/train.py", "changed")
    commit(folder)
    committed, listed = blocks(1, 2)
    ((line, shown),) = committed.typed
    printed = typed(line, folder)
    assert printed.splitlines() == list(shown)
    ((line, shown),) = listed.typed
    assert shown == ("…",)
    assert typed(line, folder) == printed


def test_the_page_s_file_of_cuda_versions_is_taken(tmp_path: Path) -> None:
    folder = repository(tmp_path / "r")
    text = (folder / ".mayfly.toml").read_text()
    (folder / ".mayfly.toml").write_text(text.replace('["12.4", "12.8"]', '"all"'))
    manager = StandIn(tmp_path / "s", lambda _: pytest.fail("nothing is asked of it"))
    manager.publish(status({**slot("local-0"), "image": "mayfly/local:cuda13.0"}))
    (block,) = blocks(3)
    ((line, shown),) = block.typed
    assert shown == ("…",)
    try:
        printed = typed(line, folder, MAYFLY_HOST__SOCKET=str(manager.path))
    finally:
        manager.close()
    found = [name for name in yaml.safe_load(printed) if name.startswith("test-text")]
    assert found == ["test-text-bert-cuda13.0"]
