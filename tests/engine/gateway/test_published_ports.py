"""Ports are listened on in another network namespace, carried to a container, and had again later."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mayfly.core.admission.ports import Published
from mayfly.engines.docker.gateway.agent_namespace import NotThere, namespace_of
from mayfly.engines.docker.gateway.published_ports import NotPublished, PublishedPorts
from tests.fakes.docker_engine import FakeEngine, reply

T = TypeVar("T")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a namespace wants root")
WEB = "a" * 64
# Stands in every control group's file: a process of this test is in no container.
AGENT = ":"


@pytest.fixture
def process() -> Iterator[int]:
    """One in a network namespace of its own, as an agent's is."""
    words = ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep infinity"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        if not held.stdout.readline():
            pytest.skip("no network namespace can be made here")
        yield held.pid
        held.kill()


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a program that counts what it is told until the other side has ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    end, _ = listening.accept()
                except OSError:
                    return
                with end:
                    total = 0
                    while piece := end.recv(65536):
                        total += len(piece)
                    end.sendall(b"%d" % total)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def engine(process: int) -> Iterator[FakeEngine]:
    with FakeEngine() as made:
        made.on("GET", "/containers/(:|%3A)/json", reply(200, {"State": {"Pid": process}}))
        made.on("GET", f"/containers/{WEB}/json", reply(200, runs()))
        yield made


def runs(*, running: bool = True, address: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "Id": WEB,
        "Name": "/mf-x-web",
        "State": {"Running": running},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": address}}},
    }


def inside(process: int, does: Callable[[], T]) -> T:
    """What a thread comes to that is in the process's namespace."""
    found: list[T | Exception] = []
    namespace = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)

    def enter() -> None:
        ctypes.CDLL(None).setns(namespace, 0)
        try:
            found.append(does())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    os.close(namespace)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def told(port: int, size: int = 1_000_000, host: str = "127.0.0.1") -> bytes:
    with socket.create_connection((host, port), 30) as end:
        end.sendall(b"x" * size)
        end.shutdown(socket.SHUT_WR)
        return end.recv(100)


def is_refused(port: int) -> bool:
    try:
        told(port, 1)
    except ConnectionRefusedError:
        return True
    return False


def done(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def test_what_comes_to_a_port_inside_is_carried_and_nothing_listens_outside(
    engine: FakeEngine, process: int, server: int, tmp_path: Path
) -> None:
    async def main() -> None:
        ports = PublishedPorts(engine.path, tmp_path, AGENT)
        await ports.publish(WEB, "web", (Published(server, 0), Published(server, 8099)))
        free, fixed = ports.listened()[WEB]
        assert (fixed.at, free.at > 0) == (8099, True)
        for port in (free.at, fixed.at):
            assert (
                await asyncio.to_thread(inside, process, lambda port=port: told(port)) == b"1000000"
            )
        assert await asyncio.to_thread(inside, process, lambda: told(8099, 7, "::1")) == b"7"
        assert await asyncio.to_thread(is_refused, 8099), "outside nobody listens"
        ports.withdraw(WEB)
        assert await asyncio.to_thread(inside, process, lambda: is_refused(8099))
        ports.close()

    done(main())


def test_a_port_that_is_taken_is_told_in_dockers_words_and_nothing_is_left(
    engine: FakeEngine, process: int, server: int, tmp_path: Path
) -> None:
    holds = inside(process, lambda: socket.create_server(("127.0.0.1", 8098)))

    async def main() -> None:
        ports = PublishedPorts(engine.path, tmp_path, AGENT)
        with pytest.raises(NotPublished, match=r"Bind for 0\.0\.0\.0:8098 failed: port is already"):
            await ports.publish(WEB, "web", (Published(server, 8097), Published(server, 8098)))
        assert ports.listened() == {}
        assert await asyncio.to_thread(inside, process, lambda: is_refused(8097))
        holds.close()
        await ports.publish(WEB, "web", (Published(server, 8098),))
        assert await asyncio.to_thread(inside, process, lambda: told(8098, 3)) == b"3"
        ports.close()

    done(main())


def test_a_gateway_that_starts_again_listens_where_the_last_one_did(
    engine: FakeEngine, process: int, server: int, tmp_path: Path
) -> None:
    async def first() -> int:
        ports = PublishedPorts(engine.path, tmp_path, AGENT)
        await ports.publish(WEB, "web", (Published(server),))
        port = ports.listened()[WEB][0].at
        ports.close()
        return port

    port = done(first())

    async def second() -> None:
        ports = PublishedPorts(engine.path, tmp_path, AGENT)
        assert ports.any
        assert ports.listened() == {}
        await ports.look()
        assert await asyncio.to_thread(inside, process, lambda: told(port, 9)) == b"9"
        await ports.happened(WEB, "die")
        assert ports.listened() == {}
        await ports.happened(WEB, "start")
        assert ports.listened()[WEB] == (Published(server, port),)
        engine.on("GET", f"/containers/{WEB}/json", reply(200, runs(running=False)))
        await ports.look()
        assert ports.listened() == {}
        await ports.happened(WEB, "destroy")
        assert ports.known() == ()
        assert not PublishedPorts(engine.path, tmp_path, AGENT).any
        ports.close()

    done(second())


def test_a_container_that_is_nowhere_to_be_reached_costs_a_connection(
    engine: FakeEngine, process: int, server: int, tmp_path: Path
) -> None:
    async def main() -> None:
        ports = PublishedPorts(engine.path, tmp_path, AGENT)
        await ports.publish(WEB, "web", (Published(server, 8096),))
        engine.on("GET", f"/containers/{WEB}/json", reply(200, runs(address="")))
        assert await asyncio.to_thread(inside, process, lambda: lost(8096))
        engine.on("GET", f"/containers/{WEB}/json", reply(200, runs()))
        assert await asyncio.to_thread(inside, process, lambda: told(8096, 4)) == b"4"
        ports.close()
        with pytest.raises(NotPublished):
            await ports.publish(WEB, "web", (Published(server, 8095),))

    done(main())


def lost(port: int) -> bool:
    try:
        return told(port, 1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_a_process_of_another_container_is_not_entered(process: int) -> None:
    with pytest.raises(NotThere):
        namespace_of(process, "c" * 64)
    held = namespace_of(process, AGENT)
    assert os.fstat(held).st_ino == Path(f"/proc/{process}/ns/net").stat().st_ino
    os.close(held)
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(NotThere):
        namespace_of(gone.pid, AGENT)
