"""The private Engine itself: what other tests rely on."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mayfly.core.model import HostId, PoolName
from tests.engine import command
from tests.engine.command import EngineHangs
from tests.engine.inspecting import Inspection, inspect
from tests.engine.private_engine import PrivateEngine, why_not
from tests.waiting import Until

if TYPE_CHECKING:
    from tests.engine.agents import Agents

pytestmark = pytest.mark.engine


def test_the_nvidia_runtime_records_what_it_was_asked_for_and_runs_it(
    worker_engine: PrivateEngine, agents: Agents, until: Until
) -> None:
    plan = replace(
        agents.plan("exit 5", env={"NVIDIA_VISIBLE_DEVICES": "GPU-1234"}), runtime="nvidia"
    )
    cid = agents.engine.create(plan)
    agents.engine.start(cid)

    def ended() -> Inspection | None:
        """the container has ended"""
        seen = inspect(agents.engine, cid)
        return seen if seen is not None and seen.finished else None

    assert until(ended).exit_code == 5
    recorded = worker_engine.recorded(cid)
    assert recorded.env["NVIDIA_VISIBLE_DEVICES"] == "GPU-1234"
    assert recorded.config["process"]["oomScoreAdj"] == 500
    assert "create" in recorded.argv


def test_agents_of_one_network_do_not_reach_each_other(agents: Agents, until: Until) -> None:
    engine = agents.engine
    name = f"{agents.host}-net"
    engine.ensure_network(name, HostId(agents.host), PoolName("pool"))
    engine.ensure_network(name, HostId(agents.host), PoolName("pool"))
    serve = "$s=IO::Socket::INET->new(Listen=>1,LocalPort=>9);1 while $s->accept"
    listen = f"exec perl -MIO::Socket -e '{serve}'"
    server = agents.plan(listen, network=name)
    cid = engine.create(server)
    engine.start(cid)
    own = ("timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/$(hostname -i)/9")
    address = engine.exec_probe(cid, ("hostname", "-i"), 10)[1].decode().strip()
    until(lambda: engine.exec_probe(cid, ("grep", "-q", ":0009 ", "/proc/net/tcp"), 10)[0] == 0)
    other, _ = agents.run("exec sleep 60", network=name)
    reach = ("timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{address}/9")
    assert engine.exec_probe(other, reach, 10)[0] != 0
    assert engine.exec_probe(cid, own, 10)[0] == 0


def test_nothing_is_left_of_a_private_engine() -> None:
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine() as engine:
        engine.docker("run", "-d", "debian:bookworm-slim", "sleep", "60")
        engine.restart(signal.SIGKILL)
        home = engine.home
    assert not home.exists()
    assert str(home) not in Path("/proc/mounts").read_text()


def test_an_engine_that_hangs_fails_who_asks_it_and_tells_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "PATIENCE", 3.0)
    with PrivateEngine(images=()) as engine:
        engine.freeze()
        with pytest.raises(EngineHangs, match=r"docker ps did not end in time[\s\S]*API listen on"):
            engine.docker("ps")
        with pytest.raises(EngineHangs, match="as before"):
            engine.docker("ps")


def test_what_the_threads_of_an_engine_are_at_is_kept(tmp_path: Path) -> None:
    with PrivateEngine(images=()) as engine:
        told = command.stacks(engine.home, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert str(kept) in told
    assert "goroutine 1 [" in kept.read_text()
