"""The Engine's calls and its refusals, on a real Engine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.agent_plan import Mount
from mayfly.core.model import ContainerId, ContainerState, HostId, PoolName
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.engines.docker import events, wire
from mayfly.engines.docker.client import UNKILLED_REST
from mayfly.engines.docker.engine import DockerEngine as Engine
from mayfly.engines.docker.values import DeviceRequest
from mayfly.engines.protocol import Gone, NameTaken
from tests.engine.agents import IMAGE, Agents
from tests.engine.go_between import GoBetween
from tests.engine.inspecting import Inspection, inspect
from tests.engine.private_engine import PrivateEngine, version, why_not
from tests.waiting import Until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLEEP = "exec sleep 300"


@pytest.fixture
def engine(agents: Agents) -> Engine:
    return agents.engine


@pytest.fixture
def small_engine() -> Iterator[PrivateEngine]:
    """An Engine with room for three networks beside its own."""
    with PrivateEngine(address_pool="10.231.0.0/22", images=()) as made:
        yield made


def end_of(engine: Engine, cid: ContainerId, until: Until) -> Inspection:
    def ended() -> Inspection | None:
        """the container has ended"""
        seen = inspect(engine, cid)
        return seen if seen is not None and seen.finished is not None else None

    return until(ended)


# -- looking ---------------------------------------------------------------------------------

CONTAINERD_STORE_SINCE = (27,)  # the release that says which containerd it uses


def test_the_engine_says_what_it_is(engine: Engine) -> None:
    info = engine.facts()
    assert info.version >= (20, 10)
    assert info.api >= (1, 41)
    assert info.id
    assert info.name == "Docker Engine"
    assert "runc" in info.runtimes
    assert info.recursive_read_only == (info.version >= (25,) and info.kernel >= (5, 12))


def test_live_restore_and_added_runtimes_are_seen(private_engine: PrivateEngine) -> None:
    info = Engine(private_engine.url).facts()
    assert info.capabilities.outlives_restart
    assert info.restart is None
    assert (info.self_removal is not None) == (info.version < (24, 0, 8))
    assert info.capabilities.removes_itself == (info.self_removal is None)
    assert "nvidia" in info.runtimes


def test_it_says_where_it_writes(private_engine: PrivateEngine) -> None:
    assert Engine(private_engine.url).facts().places == (f"{private_engine.home}/data",)


@pytest.mark.engine
@pytest.mark.skipif(
    why_not() is None and version() < CONTAINERD_STORE_SINCE,
    reason="Engines before 27 do not say which containerd they use",
)
def test_where_containerd_has_the_images_it_writes_there_too() -> None:
    settings = {"features": {"containerd-snapshotter": True}}
    with PrivateEngine(images=(), settings=settings) as engine:
        places = Engine(engine.url).facts().places
        assert places == (f"{engine.home}/data", f"{engine.home}/containerd")


def test_an_image_that_is_not_there_is_none_and_one_that_is_has_an_id(engine: Engine) -> None:
    assert engine.image("mayfly/there-is-no-such-image") is None
    found = engine.image(IMAGE)
    assert found is not None
    assert found.id.startswith("sha256:")
    assert IMAGE in found.tags


def test_fifty_containers_are_listed_in_one_request(agents: Agents, tmp_path: Path) -> None:
    made = {agents.engine.create(agents.plan("true", network="none")) for _ in range(50)}
    with GoBetween(tmp_path, agents.url) as between:
        engine = Engine(between.url)
        engine.list()
        before = len(between.asked)
        listed = engine.list()
        assert len(between.asked) - before == 1, between.asked
    ours = {found.id: found for found in listed if found.host == agents.host}
    assert set(ours) == made
    one = next(iter(ours.values()))
    assert one.state is ContainerState.CREATED
    assert one.slot.startswith("pool-")
    assert one.generation.startswith(agents.host)
    image = agents.engine.image(IMAGE)
    assert image is not None
    assert one.image == image.id


def test_containers_of_others_are_not_listed(agents: Agents) -> None:
    stranger = replace(agents.plan("true"), labels={"someone": "else"})
    cid = agents.engine.create(stranger)
    try:
        assert cid not in {found.id for found in agents.engine.list()}
    finally:
        agents.engine.remove(cid)


def test_what_is_written_is_measured_and_what_root_writes_into_the_engines_own_files(
    agents: Agents, until: Until
) -> None:
    fill = "head -c 3000000 /dev/zero | tee /big /etc/hosts >/etc/resolv.conf"
    cid, _ = agents.run(f"{fill}; echo done >/done; exec sleep 300")
    until(lambda: agents.engine.exec_probe(cid, ("cat", "/done"), 10)[0] == 0)
    size = agents.engine.size(cid)
    assert size is not None
    assert size >= 9_000_000
    seen = inspect(agents.engine, cid, size=True)
    assert seen is not None
    assert seen.size_rw is not None
    assert 3_000_000 <= seen.size_rw < 6_000_000


# -- a container as it was planned --------------------------------------------------------------


def test_a_container_has_all_that_its_plan_says(agents: Agents, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    cid, _ = agents.run(
        SLEEP,
        env={"A": "b c=d"},
        mounts=(Mount(str(source), "/data"), Mount(str(source), "/rw", read_only=False)),
        tmpfs={"/run/t": "mode=0700,size=1m,exec"},
        memory=256 * 1024 * 1024,
        cpus=1.5,
        pids=77,
        shm=8 * 1024 * 1024,
        cap_add=("SETUID", "SETGID", "KILL", "CHOWN"),
        oom_score_adj=500,
        network="none",
    )

    def inside(script: str) -> str:
        code, said = agents.engine.exec_probe(cid, ("sh", "-c", script), 20)
        assert code == 0, said
        return said.decode().strip()

    assert inside("hostname").startswith("slot-")
    assert inside("id -u") == "0"
    assert inside("tr '\\0' '\\n' </proc/1/environ | sed -n 's/^A=//p'") == "b c=d"
    assert inside("cat /proc/1/oom_score_adj") == "500"
    assert inside("tr '\\0' ' ' </proc/1/cmdline").startswith("/sbin/docker-init")
    assert inside("touch /rw/x; touch /data/x 2>&1 || true").endswith("Read-only file system")
    assert inside("stat -c %a /run/t") == "700"
    assert "noexec" not in inside("grep ' /run/t ' /proc/mounts")
    assert inside("df -B1 --output=size /dev/shm | tail -1").strip() == str(8 * 1024 * 1024)
    # CHOWN, KILL, SETGID, SETUID
    assert int(inside("sed -n 's/^CapBnd:\t//p' /proc/1/status"), 16) == 0b11100001
    assert inside("sed -n 's/^NoNewPrivs:\t//p' /proc/1/status") == "1"
    limits = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    unified = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max"
    assert inside(f"{limits} 2>/dev/null || {unified}").split() == ["77", str(256 * 1024 * 1024)]


def test_a_missing_mount_source_is_refused_and_not_created(agents: Agents, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    plan = agents.plan("true", mounts=(Mount(str(missing), "/data"),))
    with pytest.raises(Refused, match=r"bind source path does not exist.*create the directory"):
        agents.engine.create(plan)
    assert not missing.exists()


def test_a_name_that_is_taken_says_by_whom(agents: Agents) -> None:
    plan = agents.plan(SLEEP, network="none")
    first = agents.engine.create(plan)
    with pytest.raises(NameTaken) as taken:
        agents.engine.create(plan)
    assert taken.value.owner == first
    other = agents.engine.create(agents.plan(SLEEP, network="none"))
    with pytest.raises(NameTaken) as taken:
        agents.engine.rename(other, plan.name)
    assert taken.value.owner == first
    assert taken.value.name == plan.name


def test_a_running_container_is_renamed_and_renaming_again_is_a_success(agents: Agents) -> None:
    cid, _ = agents.run(SLEEP, network="none")
    for _ in range(2):
        agents.engine.rename(cid, f"{agents.host}-other")
    seen = inspect(agents.engine, cid)
    assert seen is not None
    assert seen.name == f"{agents.host}-other"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "mayfly/there-is-no-such-image:1"}, "mayfly images"),
        ({"runtime": "no-such-runtime"}, "nvidia-ctk runtime configure"),
    ],
)
def test_what_a_person_has_to_mend_is_refused_with_the_next_step(
    agents: Agents, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused, match=says):
        agents.engine.create(agents.plan("true", **changes))


@pytest.mark.parametrize(
    "asked",
    [
        DeviceRequest(ids=("GPU-1",), capabilities=("gpu",)),
        DeviceRequest(ids=("nvidia.com/gpu=GPU-1",), driver="cdi"),
    ],
)
def test_devices_that_the_engine_cannot_give_are_refused(
    agents: Agents, asked: DeviceRequest
) -> None:
    cid = agents.engine.create(agents.plan("true", network="none", device_requests=(asked,)))
    with pytest.raises(Refused, match="NVIDIA Container Toolkit"):
        agents.engine.start(cid)


def test_a_network_that_has_gone_is_passing(agents: Agents) -> None:
    cid = agents.engine.create(agents.plan("true", network=f"{agents.host}-gone"))
    with pytest.raises(Passing, match="not found"):
        agents.engine.start(cid)


# -- ends ------------------------------------------------------------------------------------


def test_an_end_tells_its_code_and_times(agents: Agents, until: Until) -> None:
    cid, _ = agents.run("exit 7", network="none")
    seen = end_of(agents.engine, cid, until)
    assert seen.exit_code == 7
    assert seen.state is ContainerState.EXITED
    # The Engine may stamp a short life's end before its start.
    assert seen.started is not None
    assert seen.finished is not None
    assert abs(seen.started - seen.finished) < 5
    assert seen.pid is None


def test_a_signal_reaches_the_process_and_a_late_one_is_a_success(
    agents: Agents, until: Until
) -> None:
    cid, _ = agents.run(
        "trap 'exit 9' TERM; echo >/ready; while :; do sleep .01; done", network="none"
    )
    until(lambda: agents.engine.exec_probe(cid, ("test", "-e", "/ready"), 10)[0] == 0)
    agents.engine.signal(cid, "TERM")
    assert end_of(agents.engine, cid, until).exit_code == 9
    agents.engine.signal(cid, "TERM")
    agents.engine.signal(cid, "KILL")
    agents.engine.remove(cid)
    agents.engine.signal(cid, "TERM")


def test_a_container_that_does_not_run_has_no_process_and_one_that_runs_has_some(
    agents: Agents, until: Until
) -> None:
    waiting = agents.engine.create(agents.plan(SLEEP, network="none"))
    running, _ = agents.run(SLEEP, network="none")
    ended, _ = agents.run("exit 0", network="none")
    end_of(agents.engine, ended, until)
    assert agents.engine.process_count(running) >= 1
    assert agents.engine.process_count(waiting) == 0
    assert agents.engine.process_count(ended) == 0
    agents.engine.remove(ended)
    assert agents.engine.process_count(ended) == 0


def test_a_running_container_is_removed_and_a_second_time_is_a_success(agents: Agents) -> None:
    cid, _ = agents.run(SLEEP, network="none")
    agents.engine.remove(cid)
    agents.engine.remove(cid)
    agents.engine.remove(cid)
    assert inspect(agents.engine, cid) is None


def test_the_share_of_the_processors_is_lifted_where_a_container_does_not_die_of_a_kill(
    agents: Agents, tmp_path: Path
) -> None:
    cid, _ = agents.run(SLEEP, network="none", cpus=0.5)
    with GoBetween(tmp_path, agents.url) as between:
        engine = Engine(between.url)
        between.failures["DELETE "] = (
            f"Could not kill running container {cid}, cannot remove - tried to kill container, but did not"
            " receive an exit event"
        )
        with pytest.raises(Passing, match="did not receive an exit event") as told:
            engine.remove(cid)
        assert told.value.retry_after == UNKILLED_REST
        said = wire.get_json(agents.url, f"/containers/{cid}/json", "looking", timeout=10)
        assert said["HostConfig"]["NanoCpus"] >= 10**9
        assert said["HostConfig"]["CpuShares"] == 1024
        engine.remove(cid)
    assert inspect(agents.engine, cid) is None


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine, cid: engine.start(cid),
        lambda engine, cid: engine.rename(cid, "x"),
        lambda engine, cid: engine.attach_stdin(cid),
        lambda engine, cid: engine.exec_probe(cid, ("true",), 5),
    ],
)
def test_what_is_asked_of_a_container_that_is_gone_says_so(
    engine: Engine, ask: Callable[[Engine, ContainerId], object]
) -> None:
    with pytest.raises(Gone, match="No such container"):
        ask(engine, ContainerId("0" * 64))


def test_a_probe_that_does_not_end_is_passing(agents: Agents) -> None:
    cid, _ = agents.run(SLEEP, network="none")
    with pytest.raises(Passing, match="no end within its time"):
        agents.engine.exec_probe(cid, ("sleep", "300"), 0.5)


# -- networks ----------------------------------------------------------------------------------


def test_a_network_is_ours_or_refused_and_its_removal_waits_for_its_containers(
    agents: Agents,
) -> None:
    engine, name = agents.engine, f"{agents.host}-net"
    host, pool = HostId(agents.host), PoolName("pool")
    engine.ensure_network(name, host, pool)
    engine.ensure_network(name, host, pool)
    found = [network for network in engine.networks() if network.name == name]
    assert [(network.host, network.pool) for network in found] == [(host, pool)]
    with pytest.raises(Refused, match="docker network rm"):
        engine.ensure_network(name, HostId("another"), pool)
    cid, _ = agents.run(SLEEP, network=name)
    with pytest.raises(Passing, match="still uses it"):
        engine.remove_network(name)
    engine.remove(cid)
    engine.remove_network(name)
    engine.remove_network(name)


def test_when_addresses_run_out_a_person_is_told_what_to_do(small_engine: PrivateEngine) -> None:
    engine = Engine(small_engine.url)

    def fill() -> None:
        for number in range(10):
            engine.ensure_network(f"net{number}", HostId("h"), PoolName("p"))

    with pytest.raises(Refused, match="docker network prune"):
        fill()


# -- the gate ------------------------------------------------------------------------------------


def test_a_gate_left_by_a_killed_client_opens_for_the_next(agents: Agents, until: Until) -> None:
    cid, _ = agents.run("read -r word; [ $word = open ] && exit 3", network="none")
    script = f"""
        from mayfly.engines.docker.engine import DockerEngine as Engine
        gate = Engine({agents.url!r}).attach_stdin({cid!r})
        print("attached", flush=True)
        input()
    """
    client = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"attached\n"
    client.kill()
    client.communicate()
    with agents.engine.attach_stdin(cid) as gate:
        assert gate.alive()
        gate.send(b"open\n")
    assert end_of(agents.engine, cid, until).exit_code == 3


def test_all_bytes_arrive_though_the_client_closes_at_once_and_the_gate_reads_late(
    agents: Agents, until: Until
) -> None:
    size = 60_000  # more would wait for the reader
    script = f"until [ -e /go ]; do sleep .01; done; [ $(head -c {size} | wc -c) = {size} ]"
    cid, _ = agents.run(script, network="none")
    with agents.engine.attach_stdin(cid) as gate:
        gate.send(b"x" * size)
    agents.engine.exec_probe(cid, ("touch", "/go"), 10)
    assert end_of(agents.engine, cid, until).exit_code == 0


def test_a_gate_that_is_not_read_holds_its_writer_for_a_bounded_time(agents: Agents) -> None:
    cid, _ = agents.run(SLEEP, network="none")
    with (
        agents.engine.attach_stdin(cid) as gate,
        pytest.raises(Passing, match="not read in time"),
    ):
        gate.send(b"x" * 16_000_000, timeout=0.5)


def test_a_gate_does_not_tell_that_its_agent_has_ended(agents: Agents, until: Until) -> None:
    """The Engine (20.10) keeps the socket: only the container's state and its witness tell."""
    cid, _ = agents.run("read -r _", network="none")
    with agents.engine.attach_stdin(cid) as gate:
        assert gate.alive()
        gate.send(b"\n")
        assert end_of(agents.engine, cid, until).exit_code == 0
        with contextlib.suppress(Passing):  # bytes for nobody are no success, and no proof
            gate.send(b"lost\n")


def test_attaching_to_what_does_not_run_fails(agents: Agents) -> None:
    cid = agents.engine.create(agents.plan("true", network="none"))
    agents.engine.start(cid)
    agents.engine.remove(cid)
    with pytest.raises(Gone):
        agents.engine.attach_stdin(cid)


# -- an Engine that does not answer -------------------------------------------------------------


def test_no_socket_is_passing(tmp_path: Path) -> None:
    with pytest.raises(Passing, match=r"no such socket.*systemctl status docker"):
        Engine(f"unix://{tmp_path}/none.sock").list()


def test_a_socket_without_a_listener_is_passing(tmp_path: Path) -> None:
    with GoBetween(tmp_path, "unix:///nobody") as between:
        pass
    with pytest.raises(Passing, match="nobody listens"):
        Engine(between.url).list()
    with pytest.raises(Passing, match="nobody listens"):
        Engine(between.url).attach_stdin(ContainerId("x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become someone else")
def test_no_permission_is_refused_with_what_to_do(tmp_path: Path) -> None:
    guarded = tmp_path / "guarded"
    guarded.mkdir(mode=0o755)
    script = f"""
        import os
        from mayfly.engines.docker.engine import DockerEngine as Engine
        from mayfly.edge.faults import Refused
        engine = Engine("unix://{guarded}/between.sock")
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        for ask in (engine.list, lambda: engine.attach_stdin("x")):
            try:
                ask()
            except Refused as fault:
                print(fault)
    """
    with GoBetween(guarded, "unix:///nobody"):
        (guarded / "between.sock").chmod(0o600)
        for directory in (guarded, *guarded.parents):
            if directory.stat().st_mode & 0o1 == 0:
                directory.chmod(directory.stat().st_mode | 0o1)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.count("run as root or join the docker group") == 2


def test_another_kind_of_address_is_refused() -> None:
    with pytest.raises(Refused, match="unix:///path"):
        Engine("tcp://127.0.0.1:2375")


def test_an_engine_that_goes_away_and_comes_back_is_passing_between(
    private_engine: PrivateEngine,
) -> None:
    engine = Engine(private_engine.url)
    engine.list()
    private_engine.stop()
    for ask in (engine.list, engine.facts, lambda: inspect(engine, ContainerId("x"))):
        with pytest.raises(Passing):
            ask()
    private_engine.start()
    assert engine.list() == ()


def test_an_engine_that_does_not_answer_in_time_is_passing(private_engine: PrivateEngine) -> None:
    engine = Engine(private_engine.url, timeout=0.5)
    engine.list()
    private_engine.freeze()
    try:
        for ask in (
            engine.list,
            lambda: inspect(engine, ContainerId("x")),
            lambda: engine.attach_stdin(ContainerId("x")),
            lambda: events.replay(engine.base_url, None, timeout=engine.timeout),
        ):
            with pytest.raises(Passing, match="did not answer in time"):
                ask()
    finally:
        private_engine.thaw()


def test_a_gate_survives_as_a_fault_when_the_engine_restarts(
    private_engine: PrivateEngine, private_agents: Agents, until: Until
) -> None:
    engine = private_agents.engine
    cid, _ = private_agents.run("read -r word; [ $word = open ] && exit 3", network="none")
    gate = engine.attach_stdin(cid)
    private_engine.restart()
    assert not gate.alive()
    with pytest.raises(Passing, match="the Engine closed it"):
        gate.send(b"open\n")
    with engine.attach_stdin(cid) as again:
        again.send(b"open\n")
    assert end_of(engine, cid, until).exit_code == 3


def test_every_thread_has_a_client_of_its_own(agents: Agents, until: Until) -> None:
    import threading

    faults: list[Fault] = []

    def work() -> None:
        try:
            for _ in range(5):
                cid, _generation = agents.run("exit 0", network="none")
                agents.engine.remove(cid)
        except Fault as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
