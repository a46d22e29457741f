"""Podman answers as Docker does and does not do as Docker does: each verb that meets it says so, once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mayfly.edge.faults import Refused
from mayfly.engines.docker.engine import DockerEngine
from tests import copies
from tests.fakes.podman import podman
from tests.harness import Manager

ONE = '[[pool]]\nname = "local"\nslots = 1\n'
ASKED = {"GET /version", "GET /info", "GET /_ping", "GET /events"}  # questions that change nothing


class Found(NamedTuple):
    """A manager that is told to use Podman."""

    manager: Manager
    url: str
    asked: list[str]
    sentence: str


@pytest.fixture
def found() -> Iterator[Found]:
    manager = Manager("unix:///nowhere", ONE)
    try:
        with podman(manager.home / "podman.sock") as (url, asked):
            manager.docker_host = url
            manager.configure(ONE)
            with pytest.raises(Refused) as refused:
                DockerEngine(url).facts()
            asked.clear()
            yield Found(manager, url, asked, str(refused.value))
            assert set(asked) <= ASKED
    finally:
        shutil.rmtree(manager.home)


def test_the_sentence_says_what_is_wrong_with_what_and_what_to_do(found: Found) -> None:
    assert "\n" not in found.sentence
    assert found.url in found.sentence
    assert "Podman" in found.sentence
    assert "host.docker_host" in found.sentence


@pytest.mark.parametrize("words", [["run"], ["plan"]])
def test_a_manager_does_not_begin(found: Found, words: list[str]) -> None:
    done = found.manager.cli(*words, timeout=60)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("mayfly: ")] == [
        f"mayfly: {found.sentence}"
    ]


def test_the_doctor_says_it_of_the_engine(found: Found) -> None:
    done = found.manager.cli("doctor", "--json", timeout=60)
    rows = {row["code"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["engine.answers"]["state"] == "fail"
    assert rows["engine.answers"]["text"] == found.sentence
    assert done.returncode == 1


def test_init_takes_it_for_no_engine_and_says_why(found: Found, tmp_path: Path) -> None:
    config = tmp_path / "mayfly.toml"
    around = {**os.environ, "DOCKER_HOST": found.url}
    done = copies.command("init", "--no-images", "--config", config, environment=around)
    assert done.returncode == 0, done.stderr
    assert f"mayfly: {found.sentence}" in done.stderr.splitlines()
    assert found.url not in config.read_text()
