"""The soak with jobs that have containers of their own, while their gateway fails as well.

    python -m tests.chaos --containers

An Engine of a release that can do it, and the docker command from ``scripts/container-clients``.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress

from tests.chaos.crashing import POINTS, WITH_CONTAINERS
from tests.chaos.soak import BROKEN, KINDS, TROUBLES, Accounts, Soak
from tests.engine.gateway_process import Gateway
from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.real.containers.images import base_image
from tests.real.containers.lab import AGENT_IMAGE, IMAGE, clients, engine_programs
from tests.real.containers.leftovers import leftovers

MORE = """containers = true
allowed_images = ["base:*"]
[[pool.dataset]]
source = "{clients}"
target = "/clients"
"""
DOCKER = "export PATH=/clients/bin:$PATH DOCKER_CONFIG=/clients/config; "
# What they leave behind is Mayfly's to clear. Whether a call succeeds while all fails is not in the account.
CALLS = {
    "container": f"docker run --rm {IMAGE} true || :",
    "input": f"seq 1000 | docker run -i --rm {IMAGE} wc -l || :",
    "containers left": f"for n in 1 2 3; do docker run -d {IMAGE} sleep 1000 || :; done",
    "mount": f'touch in; docker run --rm -v "$PWD:/w" {IMAGE} touch /w/out || :',
    "network left": "docker network create n || :; "
    f"docker run -d --network n -v v:/v -p 80 {IMAGE} sleep 1000 || :",
    "exec": f"docker run -d --name one {IMAGE} sleep 1000 || :; docker exec one sleep 1 || :",
    "refused": f"docker run --rm --privileged {IMAGE} true || :",
}
CONTAINERS = tuple((name, DOCKER + calls) for name, calls in CALLS.items())
GATEWAYS = (
    ("gateway killed", 6),
    ("gateway stopped", 2),
    ("gateway held still", 3),
    ("belonging killed", 4),
    ("belonging removed", 3),
)


class ContainerSoak(Soak):
    """One run of it."""

    kinds = (*KINDS, *CONTAINERS, *CONTAINERS)
    limit = 240
    crash_points = (*POINTS, *WITH_CONTAINERS)
    gateway: Gateway | None = None

    def __init__(self, jobs: int, seed: int, **more: object) -> None:
        super().__init__(jobs, seed, **more)  # type: ignore[arg-type]
        self.troubles = [*self.troubles, *GATEWAYS]
        assert {name for name, _ in TROUBLES}.isdisjoint(name for name, _ in GATEWAYS)

    def _engine(self) -> PrivateEngine:
        return PrivateEngine(
            live_restore=self.live_restore,
            images=(AGENT_IMAGE, base_image()),
            programs=engine_programs(),
        )

    def _pools(self) -> str:
        pools = super()._pools()
        more = MORE.format(clients=clients())
        return pools.replace("[[pool.caches]]", f"{more}[[pool.caches]]")

    def _keep_alive(self) -> None:
        if self.gateway is None:
            self.engine.docker("tag", base_image(), IMAGE)
            self.gateway = Gateway(self.engine, self.manager)
        if not self.gateway.runs:
            self.gateway.start()
        super()._keep_alive()

    def _end(self) -> None:
        if self.gateway is not None:
            self.gateway.kill(signal.SIGTERM)

    def _trouble(self, name: str) -> bool:
        assert self.gateway is not None
        pause = self.random.uniform(0.0, 1.0)
        match name:
            case "gateway killed" | "gateway stopped":
                self.gateway.kill(signal.SIGKILL if "killed" in name else signal.SIGTERM)
                time.sleep(pause)
            case "gateway held still":
                if not self.gateway.runs or self.gateway.process is None:
                    return False
                self.gateway.process.send_signal(signal.SIGSTOP)
                time.sleep(0.5 + 2 * pause)
                self.gateway.process.send_signal(signal.SIGCONT)
            case "belonging killed" | "belonging removed":
                words = ("ps", "-q", "--filter", "label=io.mayfly.belongs")
                found = sorted(self.engine.docker(*words, check=False).split())
                if not found:
                    return False
                victim = self.random.choice(found)
                verb = ("kill",) if "killed" in name else ("rm", "-f")
                self.engine.docker(*verb, victim, check=False)
            case _:
                return super()._trouble(name)
        return True

    def _leftovers(self, accounts: Accounts) -> None:
        with suppress(*BROKEN):
            self._keep_alive()
        super()._leftovers(accounts)
        self.manager.start(wait="answer")  # a slot that is drained is cleared, too
        found: dict[str, object] = {}

        def gone() -> bool:
            nonlocal found
            found = leftovers(self.engine, self.manager)
            return not found

        try:
            until(gone, "nothing of a job's containers is left")
        except AssertionError:
            accounts.faults.append(f"left of jobs' containers: {found}")
        accounts.figures.append(("kinds of belongings left", len(found)))
        self.manager.kill(signal.SIGTERM)
