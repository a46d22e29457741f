"""``mayfly notify``: who is told what, and whether a message arrives now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Mayfly
from tests.fakes.http import Answer, Call, Fake, Fault

POOL = '[[pool]]\nname = "cpu"\nslots = 1\n'


class Hook(Fake):
    def __init__(self) -> None:
        super().__init__()
        self.route("POST", "/hook", self.take)

    def take(self, _: Call) -> Answer:
        return Answer(204)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as fake:
        yield fake


@pytest.fixture
def config(tmp_path: Path, hook: Hook) -> str:
    file = tmp_path / "config.toml"
    file.write_text(
        '[host]\nname = "box"\n'
        f'[[host.notify]]\nname = "ops"\nwebhook = "{hook.url}/hook"\nconditions = "error"\n'
        f'[[host.notify]]\nname = "team"\nntfy = "{hook.url}/nix/gpu"\njobs = "failed"\npools = ["cpu"]\n'
        'users = ["anna"]\n' + POOL
    )
    return str(file)


def test_a_test_says_of_each_target_whether_it_took_the_message(
    mayfly: Mayfly, config: str, hook: Hook
) -> None:
    told = mayfly("notify", "test", "--config", config)
    assert (told.code, told.out) == (1, "ops: taken\n")
    assert "team: the ntfy at" in told.err
    assert "answered 404" in told.err
    assert hook.calls[0].json["kind"] == "test"
    hook.fail("POST", "/hook", Fault(status=500, times=None))
    told = mayfly("notify", "test", "ops", "--config", config)
    assert (told.code, told.out) == (1, "")
    assert "answered 500" in told.err


def test_a_target_that_there_is_none_of_is_named_with_those_that_there_are(
    mayfly: Mayfly, config: str, tmp_path: Path
) -> None:
    told = mayfly("notify", "test", "opps", "--config", config)
    assert (told.code, "is called opps: there are ops, team" in told.err) == (2, True)
    bare = tmp_path / "bare.toml"
    bare.write_text(POOL)
    told = mayfly("notify", "test", "--config", str(bare))
    assert (told.code, "nobody is told anything" in told.err) == (1, True)


def test_the_list_says_who_is_told_what(mayfly: Mayfly, config: str) -> None:
    lines = mayfly("notify", "list", "--config", config).out.splitlines()
    assert [line.split() for line in lines] == [
        ["TARGET", "BY", "CONDITIONS", "JOBS", "POOLS"],
        ["ops", "webhook", "error", "none", "all"],
        ["team", "ntfy", "warning", "failed", "of", "anna", "cpu"],
    ]
    document = json.loads(mayfly("notify", "list", "--json", "--config", config).out)
    assert document["schema"] == "mayfly.notify/1"
    assert document["targets"][1] == {
        "name": "team", "by": "ntfy", "conditions": "warning", "jobs": "failed", "users": ["anna"],
        "pools": ["cpu"],
    }  # fmt: skip
