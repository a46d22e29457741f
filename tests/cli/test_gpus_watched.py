"""``mayfly gpus --watch``, without a manager: the real command, NVML's stub, a terminal or a pipe."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import COMMAND
from tests.fakes.nvml import Hardware, uuid
from tests.terminal import Terminal, environment

pytestmark = pytest.mark.long

WATCH = [*COMMAND, "--socket", "/nonexistent/control.sock", "gpus", "--watch"]


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


@pytest.fixture
def screen(hardware: Hardware) -> Iterator[Terminal]:
    made = Terminal(WATCH, columns=120, **hardware.environment())
    yield made
    made.close()


def test_on_a_terminal_it_is_redrawn_in_place_until_interrupted(
    screen: Terminal, hardware: Hardware
) -> None:
    before = screen.settings()
    first = screen.until(uuid(1))
    assert "2 GPUs; driver 570.86.15" in first
    assert "the manager is not running: which slots hold them is not shown" in first
    hardware.gpu(1, used=3072, util=77)
    second = screen.until("77 %", len(first))
    assert "3.0 GiB" in second
    assert "\x1b[6A" in second, "up over the six lines drawn before"
    assert "\x1b[2J" not in second, "the screen is not blanked"
    screen.type("\x03")
    code, shown = screen.end()
    assert code == 130
    assert "Traceback" not in shown
    assert screen.settings() == before
    assert "\x1b[?" not in shown, "neither the cursor nor another screen was taken"


def test_what_fails_meanwhile_is_told_and_watched_on(screen: Terminal, hardware: Hardware) -> None:
    screen.until(uuid(1))
    hardware.say("error nvmlInitWithFlags 18")
    sentence = "different versions"
    screen.until(sentence)
    assert uuid(1) not in screen.until("\x1b[J", screen.seen.index(sentence)), "nobody sees it now"
    hardware.unsay("error nvmlInitWithFlags 18")
    screen.until(uuid(1), len(screen.seen))


def test_where_nvml_hangs_what_was_seen_last_stays_below_the_sentence(
    screen: Terminal, hardware: Hardware
) -> None:
    seen = len(screen.until(uuid(1)))
    hardware.say("hang *")
    sentence = "NVML did not answer"
    seen += screen.until(sentence, seen).index(sentence)
    assert uuid(1) in screen.until("\x1b[J", seen)


def test_in_a_pipe_it_is_a_document_a_change(hardware: Hardware) -> None:
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *WATCH, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**hardware.environment()),
    )
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert loads(first) == {uuid(0): 0, uuid(1): 0}
        hardware.gpu(0, util=91)
        assert loads(json.loads(process.stdout.readline())) == {uuid(0): 91, uuid(1): 0}
        process.send_signal(2)
        rest, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, rest) == (130, "")
    assert said.count("the manager is not running") == 1


def loads(document: dict[str, Any]) -> dict[str, int | None]:
    return {gpu["uuid"]: gpu["utilisation"] for gpu in document["gpus"]}
