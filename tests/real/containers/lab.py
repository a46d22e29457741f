"""A host where jobs have containers: an Engine of release 28, a registry, a manager and its gateway.

    with Lab() as lab:
        done = lab.run('docker run --rm "$IMAGE" echo hello')
        assert done.out == "hello\n"

Each is a process that a test may kill: ``lab.gateway``, ``lab.manager``, ``lab.engine``. What the jobs call
is what nobody here wrote: the docker command, compose and Testcontainers, of ``scripts/container-clients``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest

from mayfly.core.admission.grant import read_grant
from mayfly.core.model import LABEL_GENERATION
from tests.engine import command
from tests.engine.gateway_process import Gateway
from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine, sweep_up, why_not
from tests.engine.registry import LOOPBACK, Registry
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvml import Hardware
from tests.harness import PATIENCE, until
from tests.real.containers.images import ROOT, base_image, postgres_image
from tests.real.containers.leftovers import agents, belongings, inspected, leftovers

RELEASE = "28"
AGENT_IMAGE = "mayfly/local:cpu"
IMAGE = "base:1"  # what jobs' containers are of
GPU_IMAGE = "wants-gpus:1"  # whose ENV wants all of them
FORBIDDEN = AGENT_IMAGE  # on the Engine, and none that the pools allow
MEMORY, CPUS, PIDS = 1 << 30, 2.0, 400  # of each pool
UNAVAILABLE = 75  # of scripts/container-clients
POOL = """
[[pool]]
name = "{name}"
provider = "local"
slots = {slots}
gpus = {gpus}
image = "mayfly/local:cpu"
containers = true
allowed_images = ["base:*", "wants-gpus:*", "builder:*", "{registry}/*"]
{keys}
[pool.limits]
memory = "1GiB"
cpus = 2.0
pids = 400
[[pool.dataset]]
source = "{clients}"
target = "/clients"
[[pool.dataset]]
source = "{here}"
target = "/lab/tests/real/containers"
[[pool.caches]]
source = "{share}"
target = "/share"
"""
# A server of one line on port 80, by what the base image has; it says who it is.
SERVER = (
    "perl -MIO::Socket::INET -e '"
    "$s=IO::Socket::INET->new(Listen=>9,LocalPort=>80,ReuseAddr=>1);"
    'while($c=$s->accept){print $c "hello from $ENV{WHO}\\n";close $c}\''
)
ENVIRONMENT = """set -e
export PATH=/clients/bin:$PATH DOCKER_CONFIG=/clients/config
export PYTHONPATH=/clients/site:/lab PYTHONDONTWRITEBYTECODE=1
export IMAGE={image} REGISTRY={registry}
"""


@dataclass(frozen=True)
class Done:
    """What became of a job."""

    code: int | None
    out: str
    err: str
    row: Mapping[str, Any]

    @property
    def lines(self) -> list[str]:
        """What it printed on standard output."""
        return self.out.splitlines()


@cache
def engine_programs() -> str:
    """The folder with the programs of that release; a test is skipped where it is not to be had."""
    made = subprocess.run(
        [ROOT / "scripts/engine-at", RELEASE], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"there is no Docker Engine {RELEASE}: {made.stderr.strip()[-300:]}")
    return made.stdout.strip()


@cache
def clients() -> str:
    """The folder with the docker command and the others; a test is skipped where it is not to be had."""
    made = subprocess.run(
        [ROOT / "scripts/container-clients"], capture_output=True, text=True, check=False
    )
    if made.returncode == UNAVAILABLE:
        pytest.skip("the registries did not give the clients")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


class Lab:
    """One such host; a context manager that starts all of it, and removes it."""

    def __init__(
        self,
        slots: Mapping[str, int] | None = None,
        *,
        live_restore: bool = True,
        host: str = "",
        keys: str = "",
        registry_at: str = LOOPBACK,
    ) -> None:
        """``slots`` by pool: `gpu` has a GPU in each, `cpu` has none.

        ``host`` is more of ``[host]``, ``keys`` more of each pool. ``registry_at`` is an address of the
        Engine's network: jobs reach the registry where it is not the loopback.
        """
        if (why := why_not()) is not None:
            pytest.skip(why)
        self._slots = dict(slots or {"gpu": 1, "cpu": 1})
        self._live_restore = live_restore
        self._host = host
        self._keys = keys
        self._registry_at = registry_at
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        sweep_up()
        base, postgres = base_image(), postgres_image()
        with ExitStack() as stack:
            self.engine = stack.enter_context(
                PrivateEngine(
                    live_restore=self._live_restore,
                    images=(AGENT_IMAGE, base, postgres),
                    programs=engine_programs(),
                    settings={"insecure-registries": [f"{self._registry_at}/32"]},
                )
            )
            self.nvidia = NvidiaRuntime(self.engine)
            self.registry = stack.enter_context(Registry(self.engine, at=self._registry_at))
            self.engine.docker("tag", base, IMAGE)
            command.build(
                self.engine.url, GPU_IMAGE, f"FROM {IMAGE}\nENV NVIDIA_VISIBLE_DEVICES=all\n"
            )
            self.postgres = self._published(postgres, "library/postgres:15")
            hardware = stack.enter_context(Hardware(gpus=2))
            self.manager = stack.enter_context(GpuManager(self.engine.url, hardware, ""))
            self.gateway = Gateway(self.engine, self.manager)
            stack.callback(self.gateway.kill)
            self.share = self.manager.home / "share"
            self.share.mkdir()
            self.share.chmod(0o777)
            self.manager.configure(self.pools(), self._host)
            self.gateway.start()
            self.manager.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pools(self, more: str = "") -> str:
        """The pool tables of its configuration; ``more`` follows the keys of each pool."""
        return "".join(
            POOL.format(
                name=name,
                slots=slots,
                gpus=1 if name == "gpu" else 0,
                registry=self.registry.address,
                clients=clients(),
                here=Path(__file__).parent,
                share=self.share,
                keys=self._keys,
            )
            + more
            for name, slots in self._slots.items()
        )

    def _published(self, image: str, name: str) -> str:
        """Have the registry have an image, and the Engine not; what jobs call it."""
        tag = f"{self.registry.address}/{name}"
        self.engine.docker("tag", image, tag)
        self.engine.docker("push", "-q", tag)
        self.engine.docker("rmi", tag, image)
        return tag

    # -- jobs ----------------------------------------------------------------------------------

    def only_in_the_registry(self, name: str) -> str:
        """An image with a layer of its own that has to be fetched."""
        tag = f"{self.registry.address}/lab/{name}:1"
        made = self.engine.docker("create", "base:1", "true")
        self.engine.docker("cp", __file__, f"{made}:/layer")
        self.engine.docker("commit", made, tag)
        self.engine.docker("rm", made)
        self.engine.docker("push", "-q", tag)
        self.engine.docker("rmi", tag)
        return tag

    def begin(self, script: str, pool: str = "cpu", timeout: float = 240) -> str:
        """Submit a job that runs this shell script with the clients on its path; its id."""
        head = ENVIRONMENT.format(image=IMAGE, registry=self.registry.address)
        options = ("--pool", pool, "--timeout", f"{timeout:.0f}")
        return self.manager.submit("bash", "-c", head + script, options=options)

    def done(self, job: str, patience: float = 2 * PATIENCE) -> Done:
        """What became of the job, once it has ended."""
        row = self.manager.ended(job, patience)
        said = self.manager.logs(job)
        return Done(row["exit_code"], said.stdout, said.stderr, row)

    def run(self, script: str, pool: str = "cpu", timeout: float = 240) -> Done:
        """Both: what became of a job with this script."""
        return self.done(self.begin(script, pool, timeout))

    def well(self, script: str, pool: str = "cpu", timeout: float = 240) -> Done:
        """The same of one that has to succeed."""
        done = self.run(script, pool, timeout)
        assert done.code == 0, f"{done.row}\n{done.out}\n{done.err}\n{self.gateway.log()[-3000:]}"
        return done

    def shared(self, name: str, patience: float = PATIENCE) -> str:
        """What a job has written in /share under that name, once it is there."""
        file = self.share / name
        until(file.exists, f"the job writes {name}", patience)
        return file.read_text()

    # -- what is true on the host --------------------------------------------------------------

    def belongings(self, generation: str | None = None) -> dict[str, list[str]]:
        """What agents have made, or one of them, by its kind: what the Engine has of it."""
        return belongings(self.engine, generation)

    def inspected(self, kind: str, *names: str) -> list[dict[str, Any]]:
        """What the Engine tells of these."""
        return inspected(self.engine, kind, *names)

    def grant(self, generation: str) -> dict[str, Any]:
        """What that agent may do, with all that its file leaves out."""
        place = self.manager.state / "gateway/agents" / generation / "live/grant.json"
        return asdict(read_grant(place.read_bytes()))

    def generation(self, slot: str) -> str:
        """That of the slot's agent now."""
        (row,) = self.inspected("container", self.manager.slot(slot)["container"])
        return str(row["Config"]["Labels"][LABEL_GENERATION])

    def agents(self) -> dict[str, str]:
        """The agents that there are, standbys too: generation -> container."""
        return agents(self.engine, self.manager)

    def clean(self) -> None:
        """Wait until nothing is left anywhere of an agent that is gone."""
        try:
            until(lambda: not leftovers(self.engine, self.manager), "nothing is left")
        except AssertionError:
            left = leftovers(self.engine, self.manager)
            assert left == {}, f"{left}\n{self.gateway.log()[-3000:]}"
