"""Docker's own command and its library at an agent's socket, with a real Engine behind."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from mayfly.core.model import Registry as ModelRegistry
from mayfly.edge.faults import Passing
from mayfly.engines.docker.gateway.clearing import clear
from tests.engine.gateway.agent import GENERATION, HOST, SEAL, given
from tests.engine.gateway.conftest import IMAGE, WORK, Served
from tests.engine.registry import PASSWORD, USER, Registry
from tests.harness import until

pytestmark = [pytest.mark.engine, pytest.mark.long]
SH = ("--entrypoint", "/bin/sh")
SLEEPS = (*("--entrypoint", "/usr/bin/sleep"), IMAGE, "infinity")
# Answers each connection on port 8000 with what it was told, once the other side has said its last.
ECHOES = (
    "import socket\n"
    "s = socket.create_server(('', 8000))\n"
    "while True:\n"
    "    c, _ = s.accept()\n"
    "    said = b''\n"
    "    while piece := c.recv(65536): said += piece\n"
    "    c.sendall(b'%d' % len(said)); c.close()\n"
)
ASKS = """
import socket, sys
try:
    c = socket.create_connection(('localhost', int(sys.argv[1])), 10)
    c.sendall(b'x' * int(sys.argv[2])); c.shutdown(socket.SHUT_WR)
    print(c.recv(99).decode())
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(autouse=True)
def _emptied(served: Served) -> None:
    """Nothing is left of the test before."""
    there = served.docker("ps", "-aq").split()
    if there:
        served.docker("rm", "-f", "-v", *there)


def test_a_container_is_run_and_its_exit_code_and_both_outputs_are_its_own(served: Served) -> None:
    done = served.run("run", "--rm", *SH, IMAGE, "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert served.docker("ps", "-aq") == ""


def test_standard_input_ends_and_output_goes_on(served: Served) -> None:
    sent = b"x" * 3_000_000
    done = served.run("run", "-i", "--rm", *SH, IMAGE, "-c", "wc -c; echo after", typed=sent)
    assert (done.returncode, done.stdout) == (0, b"3000000\nafter\n"), done.stderr


def test_a_container_is_entered_and_read_and_copied_from(served: Served, tmp_path: Path) -> None:
    served.docker("run", "-d", "--name", "box", "--network", "none", *SLEEPS)
    assert served.docker("exec", "-i", "box", "cat", typed="typed") == "typed"
    assert served.run("exec", "box", "sh", "-c", "exit 5").returncode == 5
    (tmp_path / "file").write_bytes(b"k" * 1_000_000)
    served.docker("cp", str(tmp_path / "file"), "box:/srv/file")
    assert served.docker("exec", "box", "wc", "-c", "/srv/file").split()[0] == "1000000"
    served.docker("cp", "box:/srv/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"k" * 1_000_000
    assert "sleep infinity" in served.docker("top", "box")
    assert served.docker("ps", "-a", "--format", "{{.Names}}") == "box"
    assert "box" in served.docker("stats", "--no-stream", "--format", "{{.Name}}")
    [shown] = json.loads(served.docker("inspect", "box"))
    assert shown["Name"] == "/box"
    assert GENERATION not in json.dumps(shown)
    with served.begun(
        "exec", "-it", "box", "true"
    ) as done:  # no terminal here: the command says so
        done.communicate(timeout=60)


def test_a_terminal_is_one(served: Served) -> None:
    served.docker("run", "-d", "--name", "tty", "--network", "none", *SLEEPS)
    line = f"docker -H {served.url} exec -it tty sh -c 'tty; read word; echo got $word'"
    done = subprocess.run(
        ["script", "-qec", line, "/dev/null"],
        input=b"hi\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"/dev/pts/" in done.stdout, done
    assert b"got hi" in done.stdout


def test_logs_and_events_come_as_they_happen(served: Served) -> None:
    events = served.begun("events", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
    script = "echo one; until [ -e /go ]; do sleep 0.1; done; echo two"
    served.docker("run", "-d", "--name", "says", "--network", "none", *SH, IMAGE, "-c", script)
    logs = served.begun("logs", "-f", "says")
    assert logs.stdout is not None
    assert logs.stdout.readline() == b"one\n"
    served.docker("exec", "says", "touch", "/go")
    assert logs.stdout.readline() == b"two\n"
    assert logs.wait(60) == 0
    assert served.docker("wait", "says") == "0"
    assert events.stdout is not None
    while b"die says" not in (line := events.stdout.readline()):
        assert GENERATION.encode() not in line
    events.kill()
    for one in (events, logs):
        one.communicate()


def test_containers_find_each_other_by_name_and_no_stranger(served: Served) -> None:
    served.docker("network", "create", "back")
    served.docker(
        *("run", "-d", "--name", "db", "--network", "back", "--entrypoint", "python3"),
        *(IMAGE, "-c", ECHOES),
    )
    asks = ASKS.replace("'localhost'", "'db'")
    words = ("run", "--rm", "--network", "back", "--entrypoint", "python3", IMAGE, "-c", asks)
    until(lambda: served.run(*words, "8000", "5").stdout == b"5\n", "the database answers")
    assert served.docker("network", "ls", "--format", "{{.Name}}").split() == [
        "back",
        "bridge",
    ] or (served.docker("network", "ls", "--format", "{{.Name}}").split() == ["back"])
    served.docker("rm", "-f", "db")
    served.docker("network", "rm", "back")


def test_a_bind_below_the_work_directory_is_the_agents_own_directory(served: Served) -> None:
    done = served.docker(
        *("run", "--rm", "-v", f"{WORK}/new/deep:/w", *SH, IMAGE, "-c", "echo hello >/w/file; pwd"),
    )
    assert done
    shown = "import os; print(open('W/new/deep/file').read(), os.stat('W/new/deep').st_uid)"
    assert served.inside(shown.replace("W/", f"{WORK}/")).split() == ["hello", "41017"]
    done_badly = served.run("run", "--rm", "-v", "/etc:/w", IMAGE)
    assert done_badly.returncode != 0
    assert b"/etc" in done_badly.stderr


def test_a_published_port_is_on_the_agents_loopback_and_survives_the_gateway(
    served: Served,
) -> None:
    words = ("run", "-d", "--name", "web", "--entrypoint", "python3")
    served.docker(*words, "-p", "8080:8000", "-p", "8000", IMAGE, "-c", ECHOES)
    ports = served.docker("port", "web").splitlines()
    free = next(line.rpartition(":")[2] for line in ports if not line.endswith(":8080"))
    assert "8000/tcp -> 127.0.0.1:8080" in ports

    def answers(port: str) -> bool:
        return served.inside(ASKS, port, "200000") == "200000"

    until(lambda: answers("8080") and answers(free), "both answer")
    taken = served.run("run", "--rm", "-p", "8080:80", IMAGE)
    assert b"Bind for 0.0.0.0:8080 failed: port is already allocated" in taken.stderr
    assert served.engine.sh("ss -ltnH").count(":8080") == 0, "nothing listens on the host"
    served.gateway.stop(signal.SIGKILL)
    served.gateway.start()
    until(lambda: answers("8080") and answers(free), "it listens again")
    assert sorted(served.docker("port", "web").splitlines()) == sorted(ports)
    served.docker("restart", "-t", "0", "web")
    until(lambda: answers("8080"), "it answers after a restart, at its new address")
    served.docker("stop", "-t", "0", "web")
    until(
        lambda: served.inside(ASKS, "8080", "1") == "ConnectionRefusedError",
        "nobody listens for it any more",
    )


def test_the_library_for_python_does_what_it_does_elsewhere(served: Served) -> None:
    client = docker.DockerClient(base_url=served.url)
    assert client.ping()
    said = client.containers.run(IMAGE, "-c 'echo hi'", entrypoint="/bin/sh", remove=True)
    assert said == b"hi\n"
    box = client.containers.run(
        IMAGE, "infinity", entrypoint="/usr/bin/sleep", detach=True, name="lib", network_mode="none"
    )
    code, said = box.exec_run(["sh", "-c", "echo in; exit 4"])
    assert (code, said) == (4, b"in\n")
    assert [one.name for one in client.containers.list()] == ["lib"]
    bits, stat = box.get_archive("/etc/hostname")
    assert stat["name"] == "hostname"
    assert b"".join(bits)
    box.remove(force=True)
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("lab-0")
    client.close()


def test_no_device_comes_into_a_container_by_a_copy_though_the_engine_would_make_it(
    served: Served,
) -> None:
    served.docker("run", "-d", "--name", "box", "--network", "none", *SLEEPS)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind in (("plain", tarfile.REGTYPE), ("disk", tarfile.BLKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.devmajor, info.devminor, info.mode = kind, 8, 0, 0o6666
            archive.addfile(info)
    done = served.run("cp", "-", "box:/srv", typed=packed.getvalue())
    assert done.returncode != 0
    assert b"no process of a job makes any" in done.stderr
    looks = ("stat", "-c", "%n %F", "/srv/disk")
    assert served.run("exec", "box", *looks).returncode == 1
    # The Engine itself asks nobody whether the container could make one.
    by_id = served.docker("inspect", "-f", "{{.Id}}", "box")
    subprocess.run(
        ["docker", "-H", served.engine.url, "cp", "-", f"{by_id}:/srv"],
        input=packed.getvalue(),
        check=True,
        timeout=60,
    )
    assert served.docker("exec", "box", *looks) == "/srv/disk block special file"


def test_images_come_by_credentials_of_the_pool_s_that_no_job_sees(
    served: Served, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    with Registry(served.engine, locked=True) as registry:
        name = f"{registry.address}/ci/tool:1"
        served.engine.docker("tag", IMAGE, name)
        keys = {"DOCKER_CONFIG": str(tmp_path), **os.environ}
        for words in (
            ("login", "-u", USER, "-p", PASSWORD, registry.address),
            ("push", "-q", name),
        ):
            subprocess.run(
                ["docker", "-H", served.engine.url, "--config", str(tmp_path), *words],
                check=True,
                env=keys,
                timeout=120,
            )
        served.engine.docker("rmi", name)
        patterns = (f"{registry.address}/*", *served.grant.allowed_images)
        given(served.place, replace(served.grant, allowed_images=patterns))
        client = docker.DockerClient(
            base_url=served.url
        )  # Docker's command asks for a name instead
        with pytest.raises(docker.errors.APIError):
            client.images.pull(name)
        known = ModelRegistry(registry.address, USER, {"file": str(secret)})
        with_them = replace(served.grant, allowed_images=patterns, registries=(known,))
        given(served.place, with_them)
        try:
            served.docker("pull", name)
            served.docker(
                "run", "-d", "--name", "box", "--network", "none", *SH, name, "-c", "sleep 60"
            )
            shown = served.docker("inspect", "box", name) + served.docker("info")
            assert PASSWORD not in shown
            secret.write_text("another")
            served.docker("rm", "-f", "box")
            served.engine.docker("rmi", name)
            with pytest.raises(docker.errors.APIError) as failed:
                client.images.pull(name)
            assert "another" not in str(failed.value)
            told = until(
                lambda: served.gateway.control("GET", "/v1/health")["conditions"],
                "the registry itself was asked",
            )
            assert [one["code"] for one in told] == ["registry.refused"]
            login = ("login", "-u", USER, "--password-stdin", registry.address)
            wrong = served.run("--config", str(tmp_path / "of-a-job"), *login, typed="wrong")
            assert b"does not take these credentials" in wrong.stderr, wrong
            right = served.run("--config", str(tmp_path / "of-a-job"), *login, typed=PASSWORD)
            assert b"Login Succeeded" in right.stdout, right
            served.docker("--config", str(tmp_path / "of-a-job"), "pull", name)
        finally:
            given(served.place, served.grant)


def test_everything_that_it_made_is_gone_also_where_the_gateway_died(served: Served) -> None:
    """Killed while containers are being made; the Engine goes on with what it was sent."""
    served.docker("network", "create", "left")
    served.docker("volume", "create", "data")
    served.docker("run", "-d", "--name", "left", "-v", "data:/d", "-p", "9090:80", *SLEEPS)
    running = [served.begun("run", "--network", "none", *SLEEPS) for _ in range(4)]
    until(lambda: len(served.docker("ps", "-q").split()) > 1, "some are made")
    served.gateway.stop(signal.SIGKILL)
    for one in running:
        one.communicate(timeout=60)
    (served.place / "live").rename(served.place / "over")
    assert (served.place / "over/made").exists()
    state = str(served.gateway.state)
    began = time.monotonic()

    def cleared() -> bool:
        """What was on its way may still come."""
        try:
            clear(served.engine.url, state, HOST, GENERATION, SEAL)
        except Passing as passing:
            print(passing)
            return False
        return True

    until(cleared, "nothing is left, and nothing comes any more")
    print(f"cleared in {time.monotonic() - began:.2f} s")
    assert served.belongings() == []
    # Its container is there, which mounts the door; whoever clears once more sees that, too.
    for _ in range(2):
        assert (served.place / "door").is_dir()
        assert (served.place / "over/grant.json").exists()
        clear(served.engine.url, state, HOST, GENERATION, SEAL)
    assert served.engine.docker("ps", "-q", "--no-trunc") == served.grant.container
    shutil.rmtree(served.place / "over")
    served.gateway.start()
    served.place.joinpath("live").mkdir()
    given(served.place, served.grant)
    until(lambda: served.run("version").returncode == 0, "it is served again")
