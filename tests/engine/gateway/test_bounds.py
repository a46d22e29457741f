"""What one agent's requests hold and cost is bounded, and is that agent's alone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from mayfly.core.admission.objects import Kind, Ref
from mayfly.core.admission.ports import Published
from mayfly.engines.docker.gateway.counting import PROCESSES, PROCESSES_MOST, Counting
from mayfly.engines.docker.gateway.door import HEAVY_AT_ONCE, Door
from mayfly.engines.docker.gateway.handling import Handling
from mayfly.engines.docker.gateway.lookup import ABREAST, known
from mayfly.engines.docker.gateway.memory import Full, Memory
from mayfly.engines.docker.gateway.published_ports import PORTS, NotPublished, PublishedPorts
from mayfly.engines.docker.gateway.rate import Rate
from tests.engine.gateway.agent import GENERATION, agent_place, given, granted
from tests.fakes.docker_engine import Ask, FakeEngine, reply

WEB = "d" * 64


def test_memory_of_one_agent_is_its_own_and_of_all_is_bounded() -> None:
    everybody = Memory(100)
    one, other = Memory(60, everybody), Memory(60, everybody)
    with one.held() as held:
        held.more(60)
        with pytest.raises(Full):
            held.more(1)
        with other.held() as second:
            second.more(40)
            with pytest.raises(Full):
                second.more(1)
    assert (one.taken, other.taken, everybody.taken) == (0, 0, 0)
    held.more(10)  # of a request that goes on without its client
    assert everybody.taken == 0


def test_what_a_request_cost_is_waited_for_by_the_next() -> None:
    rate = Rate(10, clock=lambda: 100.0)
    assert rate.wait() == 0.0
    rate.charge(20)
    assert rate.wait() == pytest.approx(1.2)


def test_questions_of_one_agent_wait_for_each_other() -> None:
    """However many requests ask them."""
    at_once, most, lock = [0], [0], threading.Lock()
    full = threading.Event()

    def serve(ask: Ask) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            if at_once[0] == ABREAST:
                full.set()
        full.wait(10)
        reply(404, {"message": "no"})(ask)
        with lock:
            at_once[0] -= 1

    async def main(engine: FakeEngine) -> None:
        turns = asyncio.Semaphore(ABREAST)
        names = [[Ref(Kind.NETWORK, f"n{m}{n}") for n in range(12)] for m in range(3)]
        looks = (known(engine.path, refs, granted(), (), turns) for refs in names)
        assert list(await asyncio.gather(*looks)) == [{}, {}, {}]

    with FakeEngine() as engine:
        engine.on("GET", "/networks/.*", serve)
        asyncio.run(main(engine))
        assert len(engine.asked("GET", "/networks/.*")) == 36
    assert most[0] == ABREAST


def test_processes_that_were_never_started_are_counted_until_their_container_is_gone() -> None:
    async def main(engine: FakeEngine) -> None:
        counting = Counting(engine.path)
        for number in range(PROCESSES_MOST):
            assert await counting.begin(PROCESSES, granted()) is None
            counting.made_process(f"{number:064x}")
            counting.end(PROCESSES)
        never = {"Running": False, "ExitCode": None}
        engine.on("GET", "/exec/.*/json", reply(200, never))
        refusal = await counting.begin(PROCESSES, granted())
        assert refusal is not None
        assert f"at most {PROCESSES_MOST}" in refusal
        engine.on("GET", f"/exec/{1:064x}/json", reply(404, {"message": "no such exec"}))
        engine.on("GET", f"/exec/{2:064x}/json", reply(200, {"Running": False, "ExitCode": 0}))
        for _ in range(2):
            assert await counting.begin(PROCESSES, granted()) is None
        assert await counting.begin(PROCESSES, granted()) is not None

    with FakeEngine() as engine:
        asyncio.run(main(engine))


def test_processes_of_before_a_gateway_began_are_counted_too() -> None:
    async def main(engine: FakeEngine) -> None:
        counting = Counting(engine.path, recalls=True)
        refusal = await counting.begin(PROCESSES, granted())
        assert refusal is not None
        assert f"has {PROCESSES_MOST} processes" in refusal
        engine.on("GET", "/exec/.*/json", reply(200, {"Running": False, "ExitCode": 0}))
        assert await counting.begin(PROCESSES, granted()) is None
        fresh = Counting(engine.path)
        assert await fresh.begin(PROCESSES, granted()) is None

    with FakeEngine() as engine:
        labels = granted().labels
        listed = [{"Id": WEB, "Labels": labels}, {"Id": "e" * 64, "Labels": {}}]
        engine.on("GET", "/containers/json", reply(200, listed))
        execs = [f"{number:064x}" for number in range(PROCESSES_MOST)]
        engine.on("GET", f"/containers/{WEB}/json", reply(200, {"ExecIDs": execs}))
        engine.on("GET", "/exec/.*/json", reply(200, {"Running": True, "ExitCode": None}))
        asyncio.run(main(engine))
        assert len(engine.asked("GET", "/containers/json")) == 1
        assert engine.asked("GET", f"/containers/{'e' * 64}/json") == []


def test_what_the_engine_says_of_what_a_request_names_is_in_the_agents_memory() -> None:
    async def main(engine: FakeEngine) -> None:
        memory, turns = Memory(200_000), asyncio.Semaphore(ABREAST)
        refs = [Ref(Kind.NETWORK, "small")]
        await known(engine.path, refs, granted(), (), turns, memory)
        assert memory.taken == 0
        with pytest.raises(Full):
            await known(
                engine.path, [*refs, Ref(Kind.NETWORK, "large")], granted(), (), turns, memory
            )
        assert memory.taken == 0

    with FakeEngine() as engine:
        engine.on("GET", "/networks/.*small", reply(200, {"Id": "a" * 64, "Name": "x"}))
        engine.on("GET", "/networks/.*large", reply(200, {"Id": "b" * 64, "Name": "x" * 50_000}))
        asyncio.run(main(engine))


def test_an_agent_publishes_so_many_ports_and_no_more(tmp_path: Path) -> None:
    """Nothing is listened on for a container that has too many."""
    many = tuple(Published(port) for port in range(1, PORTS + 2))
    ports = PublishedPorts("/nowhere", tmp_path, "a" * 64)
    with pytest.raises(NotPublished, match=f"at most {PORTS}"):
        asyncio.run(ports.publish("c" * 64, "web", many))
    assert json.dumps(ports.known()) == "[]"


def test_what_is_much_work_for_the_engine_is_done_two_at_a_time_and_the_rest_meanwhile(
    tmp_path: Path,
) -> None:
    place = agent_place(tmp_path)
    given(place, granted())
    at_once, most, lock = [0], [0], threading.Lock()
    full, release = threading.Event(), threading.Event()

    def serve(ask: Ask) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            if at_once[0] == HEAVY_AT_ONCE:
                full.set()
        release.wait(60)
        with lock:
            at_once[0] -= 1
        reply(200, [])(ask)

    async def publishing() -> None:
        raise AssertionError("nothing is published")

    async def asked(path: str) -> bytes:
        folder = os.open(
            place / "door", os.O_RDONLY
        )  # its path is longer than that of a socket may be
        try:
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{folder}/docker.sock"
            )
        finally:
            os.close(folder)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode())
        said = await reader.read()
        writer.close()
        return said.split(b" ")[1]

    async def main(engine: FakeEngine) -> None:
        handling = Handling(engine.path, publishing)
        door = Door(GENERATION, place, handling.serve, Counting(engine.path))
        await door.open()
        paths = ("web/changes", "web/top", "web/json?size=1", "json?size=true", "web/changes")
        heavy = [asyncio.create_task(asked(f"/v1.47/containers/{path}")) for path in paths]
        try:
            assert await asyncio.to_thread(full.wait, 60)
            for _ in range(10):
                assert await asked("/_ping") == b"200"
        finally:
            release.set()
        assert len(await asyncio.gather(*heavy)) == len(paths)
        door.shut()

    with FakeEngine() as engine:
        name = f"mf-{GENERATION}-web"
        shown = {"Id": WEB, "Name": f"/{name}", "Config": {"Labels": granted().labels}}
        engine.on("GET", f"/containers/{name}/json", reply(200, shown))
        engine.on("GET", f"/containers/({WEB}/(changes|top|json)|json)", serve)
        engine.on("GET", "/_ping", reply(200, "OK"))
        asyncio.run(main(engine))
    assert most[0] == HEAVY_AT_ONCE


def test_nothing_is_carried_to_an_address_that_has_become_anothers(tmp_path: Path) -> None:
    """Its network was removed while the connection was made, and another agent's has its addresses."""

    def at(address: str) -> dict[str, object]:
        return {"NetworkSettings": {"Networks": {"n": {"IPAddress": address}}}}

    said: list[bytes] = []

    async def main(engine: FakeEngine) -> None:
        ended = asyncio.Event()

        async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                said.append(await reader.read())
            writer.close()
            ended.set()

        served = await asyncio.start_server(stranger, "127.0.0.1", 0)
        port = served.sockets[0].getsockname()[1]
        ports = PublishedPorts(engine.path, tmp_path, "a" * 64)
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.sendall(b"secret")
        theirs.shutdown(socket.SHUT_WR)
        await ports._carried(reader, writer, WEB, port)
        await ended.wait()
        writer.close()
        theirs.close()
        served.close()

    with FakeEngine() as engine:
        asked = iter(("127.0.0.1", "127.0.0.2"))

        def serve(ask: Ask) -> None:
            reply(200, at(next(asked)))(ask)

        engine.on("GET", f"/containers/{WEB}/json", serve)
        asyncio.run(main(engine))
    assert b"secret" not in b"".join(said)
