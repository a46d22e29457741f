"""The gateway as a process, in front of an Engine that speaks as a real one does, faults included."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.admission.grant import LABEL_PORTS, Bounds, Grant, VolumePlace
from mayfly.edge.fetched_images import FetchedImages
from tests.engine.gateway.agent import agent_place, another_generation, given, granted
from tests.engine.gateway.served import MODULE, Client, Gateway, door_of
from tests.fakes.docker_engine import (
    Ask,
    FakeEngine,
    Serve,
    breaks_off,
    chunked,
    hijack,
    left_alone,
    reply,
)
from tests.harness import until

WEB, EXEC = "a" * 64, "e" * 64
RAW = {"Connection": "Upgrade", "Upgrade": "tcp"}


@dataclass(frozen=True)
class Agent:
    """One whose grant is there, and that has a container `web`."""

    place: Path
    grant: Grant

    @property
    def shown(self) -> dict[str, Any]:
        """The container, as the Engine shows it."""
        return {
            "Id": WEB,
            "Name": f"/{self.grant.prefix}web",
            "Config": {"Labels": {**self.grant.labels, "own": "1"}, "Image": "debian"},
            "State": {"Running": True, "Status": "running"},
            "HostConfig": {"NetworkMode": "none"},
            "NetworkSettings": {"Networks": {}},
        }

    def bound(self, **bounds: int) -> None:
        """Have other bounds from now on."""
        given(self.place, replace(self.grant, bounds=Bounds(**bounds)))

    def refusals(self) -> list[str]:
        """What it was refused."""
        try:
            text = (self.place / "live/refusals").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line)["text"] for line in text.splitlines()]


def agent_of(gateway: Gateway) -> Agent:
    grant = granted(generation=another_generation())
    made = Agent(agent_place(gateway.state, grant.generation), grant)
    given(made.place, grant)
    gateway.control("POST", "/v1/look")
    return made


@pytest.fixture(scope="module")
def one_engine() -> Iterator[FakeEngine]:
    with FakeEngine() as made:
        yield made


@pytest.fixture(scope="module")
def one_gateway(
    tmp_path_factory: pytest.TempPathFactory, one_engine: FakeEngine
) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("state"), one_engine.path) as made:
        yield made


@pytest.fixture
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    """The module's; one of its own for a test that ends it."""
    if getattr(request, "param", None) is None:
        yield request.getfixturevalue("one_gateway")
        return
    with Gateway(tmp_path, request.getfixturevalue("one_engine").path) as made:
        yield made


of_its_own = pytest.mark.parametrize("gateway", ["its own"], indirect=True)


@pytest.fixture
def agent(gateway: Gateway) -> Agent:
    return agent_of(gateway)


@pytest.fixture
def engine(one_engine: FakeEngine, agent: Agent) -> FakeEngine:
    one_engine.forget()
    one_engine.on("GET", "/_ping", reply(200, "OK"))
    name = f"{agent.grant.prefix}web"
    one_engine.on("GET", f"/containers/({name}|{WEB}|{WEB[:12]})/json", reply(200, agent.shown))
    one_engine.on("GET", f"/exec/{EXEC}/json", reply(200, {"ID": EXEC, "ContainerID": WEB}))
    for kind in ("containers", "networks"):
        one_engine.on("GET", f"/{kind}(/json)?", reply(200, []))
    one_engine.on("GET", "/volumes", reply(200, {"Volumes": []}))
    return one_engine


@pytest.fixture
def client(agent: Agent, engine: FakeEngine) -> Iterator[Client]:
    with Client(door_of(agent.place)) as made:
        yield made


# -- what is asked and answered --------------------------------------------------------------------


def test_an_answer_has_the_engines_headers_and_not_its_names(client: Client) -> None:
    status, headers, _ = client.ask("GET", "/_ping")
    assert (status, headers["api-version"]) == (200, "1.51")
    assert headers["server"] == "Docker/28.5.2 (linux)"
    status, _, shown = client.ask("GET", "/v1.47/containers/web/json")
    assert (status, shown["Name"], shown["Id"]) == (200, "/web", WEB)
    assert shown["Config"]["Labels"] == {"own": "1"}
    assert client.ask("GET", f"/v1.47/containers/{WEB[:12]}/json")[2]["Name"] == "/web"


def test_what_is_not_there_and_what_is_anothers_are_told_alike(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    stranger = "b" * 64
    engine.on(
        "GET",
        f"/containers/{stranger}/json",
        reply(200, {**agent.shown, "Id": stranger, "Config": {}}),
    )
    for one in ("nobody", "c" * 64, stranger):
        status, _, said = client.ask("GET", f"/containers/{one}/json")
        assert (status, said) == (404, {"message": f"No such container: {one}"})
    assert agent.refusals() == [], "it is no refusal that something is not there"


def test_a_refusal_is_a_sentence_for_the_client_and_a_line_for_the_history(
    client: Client, agent: Agent, engine: FakeEngine
) -> None:
    status, _, said = client.ask("GET", "/v1.47/swarm")
    assert status >= 400
    assert set(said) == {"message"}
    assert agent.refusals() == [said["message"]]
    status, _, said = client.ask("POST", "/v1.47/containers/create", {"Image": "x", "Wrong": 1})
    assert status >= 400
    assert "Wrong" in said["message"]
    assert agent.refusals()[1:] == [said["message"]]
    assert engine.asked("POST", ".*") == []


def test_the_connection_goes_on_after_a_refusal(client: Client) -> None:
    assert client.ask("GET", "/v1.47/swarm")[0] >= 400
    assert client.ask("POST", "/v1.47/containers/create", {"Wrong": 1})[0] >= 400
    assert client.ask("GET", "/_ping")[0] == 200


# -- what is made ----------------------------------------------------------------------------------


def making(engine: FakeEngine, agent: Agent, serve: Serve | None = None) -> list[bool]:
    """Has the Engine take networks; whether each found the mark on the disk."""
    marked: list[bool] = []

    def create(ask: Ask) -> None:
        marked.append((agent.place / "live/made").exists())
        (serve or reply(201, {"Id": "9" * 64, "Warning": ""}))(ask)

    engine.on("POST", "/networks/create", create)
    return marked


NETWORK = {"Name": "net", "Driver": "bridge"}


def test_the_mark_is_there_before_anything_is_made_and_not_without(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    marked = making(engine, agent)
    client.ask("GET", "/_ping")
    client.ask("GET", "/v1.47/containers/web/json")
    assert not (agent.place / "live/made").exists()
    status, _, said = client.ask("POST", "/v1.47/networks/create", NETWORK)
    assert status == 201, said
    assert marked == [True]
    [ask] = engine.asked("POST", "/networks/create")
    assert ask.json["Name"] == f"mf-{agent.grant.generation}-net"
    assert agent.grant.labels.items() <= ask.json["Labels"].items()


def test_nothing_is_made_once_the_agent_is_over(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    marked = making(engine, agent)
    assert client.ask("POST", "/v1.47/networks/create", NETWORK)[0] == 201
    (agent.place / "live").rename(agent.place / "over")
    with suppress(ConnectionError, BrokenPipeError):  # it may be cut already
        assert client.ask("POST", "/v1.47/networks/create", NETWORK)[0] >= 400
    assert marked == [True]


def test_more_than_the_bound_is_refused_by_what_the_engine_has(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    agent.bound(networks=2)
    making(engine, agent)
    listed = [
        {"Id": str(n), "Name": f"mf-{agent.grant.generation}-{n}", "Labels": agent.grant.labels}
        for n in range(2)
    ]
    engine.on("GET", "/networks", reply(200, listed[:1]))
    assert client.ask("POST", "/v1.47/networks/create", NETWORK)[0] == 201
    engine.on("GET", "/networks", reply(200, listed))
    status, _, said = client.ask("POST", "/v1.47/networks/create", NETWORK)
    assert status == 409
    assert "2 networks of at most 2" in said["message"]


IMAGE = {
    "Id": f"sha256:{'1' * 64}",
    "RepoTags": ["debian:latest"],
    "RepoDigests": [f"debian@sha256:{'2' * 64}"],
    "Config": {"Labels": {}, "Env": []},
}


def creating(engine: FakeEngine, agent: Agent, volume: Path) -> list[str]:
    """Has the Engine take containers, and make networks once; what it was asked to make, in its order."""
    made: list[str] = []
    lock = threading.Lock()

    def create_network(ask: Ask) -> None:
        name = json.loads(ask.body())["Name"]
        with lock:
            taken = f"network {name}" in made
            made.append(f"network {name}")
        if taken:
            reply(409, {"message": f"network with name {name} already exists"})(ask)
            return
        shown = {"Id": "9" * 64, "Name": name, "Labels": agent.grant.labels}
        engine.on("GET", f"/networks/{name}", reply(200, shown))
        reply(201, {"Id": "9" * 64})(ask)

    def create(ask: Ask) -> None:
        ask.body()
        with lock:
            made.append("container")
        assert (volume / "new/deep").is_dir()
        reply(201, {"Id": "7" * 64, "Warnings": []})(ask)

    engine.on("GET", "/images/debian:latest/json", reply(200, IMAGE))
    engine.on("GET", "/volumes/work", reply(200, {"Name": "work", "Mountpoint": str(volume)}))
    engine.on("POST", "/networks/create", create_network)
    engine.on("POST", "/containers/create", create)
    return made


def test_directories_and_the_network_are_there_before_the_container(
    client: Client, engine: FakeEngine, agent: Agent, tmp_path: Path
) -> None:
    """Eight at once: the network is made once."""
    given(agent.place, replace(agent.grant, work=VolumePlace("/job", "work")))
    made = creating(engine, agent, tmp_path)
    asked = {
        "Image": "debian",
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "Binds": ["/job/new/deep:/d"],
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
        },
    }
    found: list[int] = []

    def create() -> None:
        with Client(door_of(agent.place)) as one:
            status, _, said = one.ask("POST", "/v1.47/containers/create", asked)
            assert status == 201, said
            found.append(status)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [201] * 8
    assert made == [f"network {agent.grant.default_network}", *["container"] * 8]
    [ask, *_] = engine.asked("POST", "/containers/create")
    host = ask.json["HostConfig"]
    assert not host.get("PortBindings")
    assert json.loads(ask.json["Labels"][LABEL_PORTS]) == [[80, 8080]]
    [mount] = host["Mounts"]
    assert mount["VolumeOptions"]["Subpath"] == "new/deep"


def test_addresses_that_are_used_up_are_told_with_what_to_do(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    text = "all predefined address pools have been fully subnetted"
    making(engine, agent, reply(500, {"message": text}))
    status, _, said = client.ask("POST", "/v1.47/networks/create", NETWORK)
    assert status == 500
    assert "default-address-pools" in said["message"]


# -- streams ---------------------------------------------------------------------------------------


def test_a_wait_tells_that_it_waits_before_there_is_an_end(
    client: Client, engine: FakeEngine
) -> None:
    """`docker run` does not start its container before."""
    over = threading.Event()

    def serve(ask: Ask) -> None:
        ask.body()
        ask.say(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
        over.wait(30)
        ask.chunk(b'{"StatusCode":3}\n')
        ask.chunk(b"")

    engine.on("POST", f"/containers/{WEB}/wait", serve)
    client.send("POST", "/v1.47/containers/web/wait?condition=next-exit", b"")
    status, told = client.head()
    over.set()
    assert (status, json.loads(client.content(told))["StatusCode"]) == (200, 3)
    assert client.ask("GET", "/_ping")[0] == 200


def test_logs_come_as_they_are_written(client: Client, engine: FakeEngine) -> None:
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"\x01\0\0\0\0\0\0\x04one\n"
        go_on.wait(30)
        yield b"\x01\0\0\0\0\0\0\x04two\n"

    kind = "application/vnd.docker.multiplexed-stream"
    engine.on("GET", f"/containers/{WEB}/logs", chunked(pieces(), kind))
    client.send("GET", "/v1.47/containers/web/logs?follow=1&stdout=1")
    status, told = client.head()
    assert (status, told["content-type"]) == (200, kind)
    assert client.chunk().endswith(b"one\n")
    go_on.set()
    assert client.chunk().endswith(b"two\n")
    assert client.chunk() == b""


def test_a_stream_that_fails_at_once_is_an_answer_like_any_other(
    client: Client, engine: FakeEngine
) -> None:
    text = f"No such container: {WEB}"
    engine.on("GET", f"/containers/{WEB}/logs", reply(404, {"message": text}))
    for _ in range(2):
        status, _, said = client.ask("GET", "/v1.47/containers/web/logs?stdout=1")
        assert (status, said) == (404, {"message": text})


def test_a_client_that_leaves_a_stream_ends_it_at_the_engine(
    client: Client, engine: FakeEngine
) -> None:
    gone = threading.Event()

    def serve(ask: Ask) -> None:
        ask.say(200, {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"})
        ask.chunk(b"x")
        if ask.end.recv(1) == b"":
            gone.set()

    engine.on("GET", f"/containers/{WEB}/logs", serve)
    client.send("GET", "/v1.47/containers/web/logs?follow=1&stdout=1")
    client.head()
    assert client.chunk() == b"x"
    client.end.close()
    assert gone.wait(30)


def test_events_are_of_the_agents_own_and_shown_line_by_line(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    event = {
        "Type": "container",
        "Action": "start",
        "Actor": {
            "ID": WEB,
            "Attributes": {
                "name": f"{agent.grant.prefix}web",
                "image": "debian",
                **agent.grant.labels,
            },
        },
    }
    line = json.dumps(event).encode() + b"\n"
    engine.on("GET", "/events", chunked([line[:10], line[10:] + line, b"\n"]))
    client.send("GET", "/v1.47/events?since=1")
    _, told = client.head()
    lines = client.content(told).splitlines()
    assert [json.loads(one)["Actor"]["Attributes"] for one in lines] == [
        {"name": "web", "image": "debian"}
    ] * 2
    [ask] = engine.asked("GET", "/events")
    assert agent.grant.generation in ask.target


def test_a_pull_is_shown_as_it_goes_and_counts_once_it_is_through(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    """Where a pool pulls always, nobody has an image that they have not fetched themselves."""
    given(agent.place, replace(agent.grant, pull="always"))
    engine.on("GET", "/images/debian:latest/json", reply(200, IMAGE))
    engine.on("POST", "/containers/create", reply(201, {"Id": "7" * 64, "Warnings": []}))
    asked = {"Image": "debian", "HostConfig": {"NetworkMode": "none"}}
    fails = b'{"error":"no","errorDetail":{"message":"toomanyrequests: no"}}\r\n'
    for pieces, status in (
        ([fails], 404),
        ([b'{"status":"Pulling"}\r\n', b'{"status":"Done"}\r\n'], 201),
    ):
        engine.on("POST", "/images/create", chunked(pieces))
        client.send("POST", "/v1.47/images/create?fromImage=debian&tag=latest", b"")
        _, told = client.head()
        assert len(client.content(told).splitlines()) == len(pieces)
        assert client.ask("POST", "/v1.47/containers/create", asked)[0] == status


def upper(ask: Ask) -> None:
    """Says in large letters what it is told, and at its end that it was."""
    while piece := ask.more():
        ask.end.sendall(piece.upper())
    ask.end.sendall(b"END")


@pytest.mark.parametrize(("headers", "status"), [(RAW, 101), ({}, 200)])
def test_an_exec_is_the_raw_connection_and_each_side_ends_alone(
    client: Client, engine: FakeEngine, headers: dict[str, str], status: int
) -> None:
    engine.on("POST", f"/exec/{EXEC}/start", hijack(upper))
    client.send("POST", f"/v1.47/exec/{EXEC}/start", b'{"Detach":false,"Tty":false}', headers)
    assert client.head()[0] == status
    client.end.sendall(b"hello")
    assert client.exactly(5) == b"HELLO"
    client.end.shutdown(socket.SHUT_WR)
    assert client.rest() == b"END"


def test_an_attach_that_the_engine_refuses_is_an_answer_like_any_other(
    client: Client, engine: FakeEngine
) -> None:
    engine.on("POST", f"/containers/{WEB}/attach", reply(409, {"message": "You cannot attach"}))
    assert client.ask("POST", "/v1.47/containers/web/attach?stream=1", headers=RAW)[0] == 409


def tar_of(size: int) -> bytes:
    """One file, of so many bytes with its header."""
    info = tarfile.TarInfo("big")
    info.size = size - tarfile.BLOCKSIZE
    return info.tobuf() + b"t" * info.size


def test_an_archive_goes_up_as_it_comes_and_a_long_one_is_cut(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    received: list[int] = []

    def serve(ask: Ask) -> None:
        received.append(len(ask.body()))
        reply(200)(ask)

    engine.on("PUT", f"/containers/{WEB}/archive", serve)
    target = "/v1.47/containers/web/archive?path=/srv"
    tar = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
    client.send("PUT", target, headers=tar)
    archive = tar_of(40 * 65536)
    for start in range(0, len(archive), 65536):
        client.end.sendall(b"10000\r\n" + archive[start : start + 65536] + b"\r\n")
    client.end.sendall(b"0\r\n\r\n")
    assert client.head()[0] == 200
    assert received == [40 * 65536]
    agent.bound(upload=100)
    with Client(door_of(agent.place)) as other:
        other.send(
            "PUT", target, headers={"Content-Type": "application/x-tar", "Content-Length": "101"}
        )
        other.end.sendall(archive[:101])
        status, told = other.head()
        assert (status, b"more than 100" in other.content(told)) == (413, True)
    assert received == [40 * 65536]


def test_an_archive_that_the_engine_refuses_halfway_is_told(
    client: Client, engine: FakeEngine
) -> None:
    def serve(ask: Ask) -> None:
        ask.more()
        reply(404, {"message": f"No such container: {WEB}"})(Ask("PUT", "", {}, ask.end))
        left_alone(ask.end)

    engine.on("PUT", f"/containers/{WEB}/archive", serve)
    tar = {"Content-Type": "application/x-tar", "Content-Length": "50000000"}
    client.send("PUT", "/v1.47/containers/web/archive?path=/srv", headers=tar)
    with suppress(BrokenPipeError, ConnectionResetError):
        client.end.sendall(tar_of(50_000_000))
    assert client.head()[0] == 404


def test_an_engine_that_breaks_off_or_is_gone_is_told_in_a_sentence(
    client: Client, engine: FakeEngine, agent: Agent
) -> None:
    engine.on("GET", "/_ping", breaks_off)
    status, _, said = client.ask("GET", "/_ping")
    assert (status, "broke off" in said["message"]) == (503, True)
    making(engine, agent, breaks_off)
    status, _, said = client.ask("POST", "/v1.47/networks/create", NETWORK)
    assert (status, "may have been done" in said["message"]) == (503, True)


# -- lives and ends --------------------------------------------------------------------------------


@of_its_own
def test_a_gateway_that_was_killed_serves_the_same_agents_again(
    gateway: Gateway, client: Client, agent: Agent
) -> None:
    assert client.ask("GET", "/_ping")[0] == 200
    gateway.stop(signal.SIGKILL)
    with pytest.raises(ConnectionRefusedError):
        Client(door_of(agent.place))
    gateway.start()
    with Client(door_of(agent.place)) as again:
        assert again.ask("GET", "/_ping")[0] == 200
    assert gateway.control("GET", "/v1/health")["agents"] == 1


def test_a_second_gateway_does_not_serve_what_the_first_does(
    gateway: Gateway, engine: FakeEngine, client: Client
) -> None:
    words = [sys.executable, "-P", "-m", MODULE, str(gateway.state), engine.path]
    second = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert second.stderr == (
        f"mayfly gateway: another gateway serves {gateway.state}; one is enough for a host\n"
    )
    assert client.ask("GET", "/_ping")[0] == 200


def test_a_closed_agent_is_in_flight_until_the_engine_has_answered(
    gateway: Gateway, client: Client, engine: FakeEngine, agent: Agent
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(ask: Ask) -> None:
        asked.set()
        answer.wait(30)
        reply(201, {"Id": "9" * 64})(ask)

    making(engine, agent, slow)
    client.send("POST", "/v1.47/networks/create", json.dumps(NETWORK).encode())
    assert asked.wait(30)
    (agent.place / "live").rename(agent.place / "over")
    closed: list[Any] = []
    closing = threading.Thread(
        target=lambda: closed.append(gateway.control("POST", f"/v1/close/{agent.grant.generation}"))
    )
    closing.start()
    assert client.end.recv(4096) == b"", "it is cut at once"
    assert closed == []
    answer.set()
    closing.join(30)
    assert closed == [{"in_flight": 0}]
    assert gateway.control("POST", "/v1/close/mb7x2k9qa0009") == {"in_flight": 0}


@of_its_own
def test_the_door_of_an_agent_that_is_over_is_closed(
    gateway: Gateway, client: Client, agent: Agent
) -> None:
    assert client.ask("GET", "/_ping")[0] == 200
    (agent.place / "live").rename(agent.place / "over")
    assert client.end.recv(4096) == b""
    until(lambda: gateway.control("GET", "/v1/health")["agents"] == 0, "it is forgotten")


def test_one_agent_that_takes_all_it_may_costs_another_nothing(
    gateway: Gateway, engine: FakeEngine, agent: Agent
) -> None:
    """Connections that ask for nothing, streams that nobody reads, half a head."""
    agent.bound(connections=8)
    engine.on("GET", f"/containers/{WEB}/logs", floods)
    greedy = [Client(door_of(agent.place)) for _ in range(8)]
    for one in greedy[:4]:
        one.send("GET", "/v1.47/containers/web/logs?follow=1&stdout=1")
        one.head()
    greedy[4].end.sendall(b"GET /_pi")
    with Client(door_of(agent_of(gateway).place)) as client:
        for _ in range(50):
            assert client.ask("GET", "/_ping")[0] == 200
    used = Path(f"/proc/{gateway.pid}/statm").read_text().split()[1]
    assert int(used) * 4096 < 200 * 1024 * 1024, "what nobody reads is not kept"
    for one in greedy:
        one.end.close()


def floods(ask: Ask) -> None:
    ask.say(200, {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"})
    while True:
        ask.chunk(b"x" * 65536)


def test_an_agent_that_nobody_told_of_is_found(gateway: Gateway, engine: FakeEngine) -> None:
    engine.on("GET", "/_ping", reply(200, "OK"))
    grant = granted(generation=another_generation())
    place = agent_place(gateway.state, grant.generation)
    given(place, grant)
    with Client(door_of(place)) as client:
        assert client.ask("GET", "/_ping")[0] == 200


@of_its_own
def test_it_gives_systemd_signs_of_life_and_says_how_it_fares(
    gateway: Gateway, agent: Agent
) -> None:
    door_of(agent.place)
    told = until(lambda: _sign(gateway.told), "a sign of life")
    assert b"1 agent may use containers" in told
    health = gateway.control("GET", "/v1/health")
    assert set(health) == {"version", "started", "agents", "connections", "conditions", "grant"}
    assert gateway.stop() == 0


def _sign(told: Callable[[], bytes]) -> bytes | None:
    said = told()
    return said if b"WATCHDOG=1" in said else None


def test_where_a_pool_pulls_always_an_image_is_there_once_the_agent_has_fetched_it(
    client: Client, agent: Agent, engine: FakeEngine
) -> None:
    given(agent.place, replace(agent.grant, pull="always"))
    image = {
        "Id": "sha256:" + "1" * 64,
        "RepoTags": ["lab/tool:1"],
        "RepoDigests": ["lab/tool@sha256:" + "3" * 64],
        "Config": {},
    }
    engine.on("GET", "/images/.*/json", reply(200, image))
    engine.on("POST", "/images/create", chunked([b'{"status": "Pulling"}\r\n']))
    names = ("lab/tool:1", "docker.io/lab/tool:1", image["Id"])
    for name in names:
        status, _, said = client.ask("GET", f"/images/{name}/json")
        assert (status, "No such image" in said["message"]) == (404, True)
    assert client.ask("POST", "/images/create?fromImage=lab/tool&tag=1")[0] == 200
    for name in names:  # by its id, too: some clients look the name up first
        status, _, said = client.ask("GET", f"/images/{name}/json")
        assert (status, said.get("Id")) == (200, image["Id"])


def test_an_image_that_a_job_has_fetched_is_noted_where_it_was_not_there_before(
    client: Client, agent: Agent, engine: FakeEngine, gateway: Gateway
) -> None:
    noted = FetchedImages(gateway.state / "gateway")
    engine.on("POST", "/images/create", chunked([b'{"status": "Pulling"}\r\n']))
    engine.on("GET", "/images/.*/json", reply(404, {"message": "No such image: lab/new:1"}))
    assert client.ask("POST", "/images/create?fromImage=lab/new&tag=1")[0] == 200
    assert "lab/new:1" in {one.name for one in noted.all()}
    given(agent.place, replace(agent.grant, pull="always"))
    image = {
        "Id": "sha256:" + "2" * 64,
        "RepoTags": ["lab/old:1"],
        "RepoDigests": ["lab/old@sha256:" + "3" * 64],
        "Config": {},
    }
    engine.on("GET", "/images/.*/json", reply(200, image))
    assert client.ask("POST", "/images/create?fromImage=lab/old&tag=1")[0] == 200
    failed = [b'{"error": "toomanyrequests"}\r\n']
    engine.on("POST", "/images/create", chunked(failed))
    engine.on("GET", "/images/.*/json", reply(404, {"message": "No such image: lab/none:1"}))
    client.ask("POST", "/images/create?fromImage=lab/none&tag=1")
    assert {"lab/old:1", "lab/none:1"}.isdisjoint(one.name for one in noted.all())


def test_an_image_is_noted_before_it_is_fetched_and_a_job_fetches_so_many_alone(
    client: Client, agent: Agent, engine: FakeEngine, gateway: Gateway
) -> None:
    noted = FetchedImages(gateway.state / "gateway")
    seen: list[str] = []

    def create(ask: Ask) -> None:
        seen.extend(one.name for one in noted.all())
        chunked([b'{"status": "Pulling"}\r\n'])(ask)

    engine.on("POST", "/images/create", create)
    engine.on("GET", "/images/.*/json", reply(404, {"message": "No such image"}))
    agent.bound(images=1)
    for again in range(2):
        assert client.ask("POST", "/images/create?fromImage=lab/a&tag=1")[0] == 200, again
    assert "lab/a:1" in seen
    status, _, said = client.ask("POST", "/images/create?fromImage=lab/b&tag=1")
    assert (status, "may fetch no more" in said["message"]) == (403, True)


def test_a_grant_of_another_version_is_told(client: Client, agent: Agent) -> None:
    text = (agent.place / "live/grant.json").read_text()
    (agent.place / "live/grant.json").write_text(text.replace('"seal"', '"wax"'))
    status, _, said = client.ask("GET", "/_ping")
    assert status == 503
    assert "wax" in said["message"]
