"""After an upgrade the gateway becomes the one that is installed, as soon as nobody is connected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mayfly.engines.docker.gateway.own_code import OwnCode
from tests.engine.gateway.agent import agent_place, given, granted
from tests.engine.gateway.served import Client, asked_control, door_of
from tests.harness import until

# A gateway that takes that file for its own code, and does not wait long.
HURRIED = """
import sys
from pathlib import Path
import mayfly
from mayfly.engines.docker.gateway import own_code, process
own_code.SETTLED_SECONDS, process.ALIVE_SECONDS, mayfly.__file__ = 0.0, 0.0, sys.argv[1]
sys.exit(process.run(Path(sys.argv[2]), "/nowhere/docker.sock"))
"""


def test_code_is_replaced_once_it_is_another_and_has_been_there_for_a_while(tmp_path: Path) -> None:
    file = tmp_path / "__init__.py"
    file.write_text("1")
    own, soon = OwnCode(file), OwnCode(file, settled=0.0)
    assert not soon.is_replaced()
    file.unlink()
    assert not soon.is_replaced(), "an upgrade is under way"
    file.write_text("2")
    assert soon.is_replaced()
    assert not own.is_replaced(), "not all of it may be written"


def test_a_gateway_that_nobody_uses_begins_anew_and_stays_the_same_process(tmp_path: Path) -> None:
    file = tmp_path / "__init__.py"
    file.write_text("old")
    place = agent_place(tmp_path)
    given(place, granted())
    words = [sys.executable, "-c", HURRIED, str(file), str(tmp_path)]
    with subprocess.Popen(words) as gateway:
        door = door_of(place)
        began = asked_control(tmp_path, "GET", "/v1/health")["started"]
        with Client(door) as client:
            assert client.ask("GET", "/v1.47/swarm")[0] == 403
        file.unlink()
        file.write_text("new")

        def is_another() -> bool:
            try:
                return bool(asked_control(tmp_path, "GET", "/v1/health")["started"] > began)
            except (OSError, ConnectionError):
                return False

        until(is_another, "it has begun anew")
        assert gateway.poll() is None
        with Client(door) as client:
            assert client.ask("GET", "/v1.47/swarm")[0] == 403
        gateway.terminate()
        assert gateway.wait(30) == 0
