"""An agent's container, made by hand as the manager makes it: for tests of what runs inside."""

import hashlib
import io
import secrets
import socket
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.types import Mount

from mayfly.core.model import Generation
from mayfly.edge import gate
from mayfly.edge.gate import words
from tests.conftest import IMAGE

LABEL = "io.mayfly.test"
CAPABILITIES = ["SETUID", "SETGID", "KILL", "CHOWN"]


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar with these members, owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o600
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def files(argv: Sequence[str | bytes], env: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """What the gate unpacks for one job of provider `local`."""
    texts = [v if isinstance(v, str) else v.decode(errors="surrogateescape") for v in argv]
    pairs = [f"{key}={value}" for key, value in (env or {}).items()]
    return {"job.argv": words(texts), "job.env": words(pairs)}


def job(argv: Sequence[str | bytes], env: Mapping[str, str] | None = None) -> bytes:
    """The tar of one job of provider `local`."""
    return archive(files(argv, env))


def header(generation: str, size: int | str, digest: str, protocol: str = "MAYFLY/3") -> bytes:
    return f"{protocol} {generation} {size} {digest}\n".encode()


def frame(generation: str, tar: bytes) -> bytes:
    """A frame that carries the tar."""
    return header(generation, len(tar), hashlib.sha256(tar).hexdigest()) + tar


@dataclass(frozen=True)
class Agent:
    """One container at its gate, and what can be seen of it from the host."""

    engine: docker.APIClient
    container: str
    generation: str
    witness: Path

    def send(self, data: bytes) -> None:
        """Writes to the agent's standard input and goes, leaving it open for others.

        When this returns the Engine has passed all of it on: what another sends next comes after it.
        """
        stream = self.engine.attach_socket(self.container, params={"stdin": 1, "stream": 1})
        stream._sock.sendall(data)
        stream._sock.shutdown(socket.SHUT_WR)
        while stream._sock.recv(4096):
            pass
        stream._sock.close()

    def open(self, found: Mapping[str, bytes]) -> None:
        """Opens the gate as the manager does, with what it is to unpack."""
        self.send(gate.frame(Generation(self.generation), found))

    def take(self, *argv: str | bytes, env: Mapping[str, str] | None = None) -> None:
        """Opens the gate with this job."""
        self.open(files(argv, env))

    def run(self, *argv: str | bytes, env: Mapping[str, str] | None = None) -> str:
        """Opens the gate with this job and returns its standard output once the agent has ended."""
        self.take(*argv, env=env)
        self.wait()
        return self.output()

    def signal(self, name: str) -> None:
        self.engine.kill(self.container, signal=name)

    def wait(self, seconds: float = 30) -> int:
        """The container's own exit code."""
        return int(self.engine.wait(self.container, timeout=seconds)["StatusCode"])

    def raw(self, *, stdout: bool = True, stderr: bool = False) -> bytes:
        return bytes(self.engine.logs(self.container, stdout=stdout, stderr=stderr))

    def output(self) -> str:
        """Standard output without the launcher's own two lines."""
        text = self.raw().decode()
        text = text.removeprefix(f"mayfly: at gate {self.generation}\n")
        return text.rpartition("mayfly: ended ")[0] or text

    def errors(self) -> str:
        return self.raw(stdout=False, stderr=True).decode()

    def note(self, name: str) -> str | None:
        """A file of the witness; None while it is not there, whole."""
        path = self.witness / name
        text = path.read_text() if path.exists() else ""
        return text.strip() if text.endswith("\n") else None

    def root(self, *argv: str) -> str:
        """What a command says that root runs beside the job."""
        made = self.engine.exec_create(self.container, list(argv))
        return bytes(self.engine.exec_start(made)).decode()

    def processes(self) -> list[str]:
        """The command lines in the container, by the host's own view."""
        rows = self.engine.top(self.container, ps_args="-eo pid,args")["Processes"] or []
        return [row[-1] for row in rows]


@contextmanager
def agent(engine: docker.APIClient, state: Path, until: Any, **options: Any) -> Iterator[Agent]:
    """A container that waits at its gate; gone afterwards, whatever happened."""
    generation = secrets.token_hex(6) + "a"
    witness = state / "agents" / generation
    witness.mkdir(parents=True)
    witness.parent.chmod(0o700)
    witness.chmod(0o777)
    environment = {"MAYFLY_GENERATION": generation, "MAYFLY_SLOT": "test-0"}
    environment |= options.pop("environment", {})
    at_gate = options.pop("at_gate", True)
    host: dict[str, Any] = {
        "init": True,
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "cap_add": CAPABILITIES,
        "security_opt": ["no-new-privileges"],
        "oom_score_adj": 500,
        "tmpfs": {"/run/mayfly": "size=16m,mode=0700"},
        "mounts": [Mount("/run/mayfly/w", str(witness), type="bind")],
    }
    host |= options
    made = engine.create_container(
        options.pop("image", IMAGE),
        hostname="test-0",
        stdin_open=True,
        detach=True,
        labels={LABEL: "agents"},
        environment=environment,
        host_config=engine.create_host_config(**{k: v for k, v in host.items() if k != "image"}),
    )
    one = Agent(engine, made["Id"], generation, witness)
    try:
        engine.start(one.container)
        if at_gate:
            until(lambda: one.note("ready") == generation)
        yield one
    finally:
        engine.remove_container(one.container, force=True, v=True)
