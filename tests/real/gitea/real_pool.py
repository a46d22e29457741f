"""A real manager on a real Engine with Gitea's own server and Gitea's own runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.engine.private_engine import PrivateEngine
from tests.fakes.forwarding import Forwarder
from tests.harness import Manager, until
from tests.images import Stub, image_with
from tests.real.gitea.real_server import GiteaServer, Parts

RUNNER = "1.0.8"
WAITS = "until [ -e /tmp/go ]; do sleep 0.1; done"  # a job that ends once it may
TAG = f"mayfly/gitea:real-{RUNNER}"


@dataclass
class GiteaPool:
    """The four of them."""

    engine: PrivateEngine
    server: GiteaServer
    manager: Manager
    repository: str
    scope: str

    def secret(self, text: str) -> None:
        """Put a token where the pool's `token` points."""
        file = self.manager.home / "token"
        file.write_text(text)
        file.chmod(0o600)

    def configure(
        self, slots: int = 2, tables: str = "", label: str = "gpu", gpus: int = 0
    ) -> None:
        """Write the configuration, with further tables of the pool after its own."""
        # In the namespace of the Engine the service is on the same address as out here.
        self.manager.configure(
            f'[[pool]]\nname = "g"\nprovider = "gitea"\nslots = {slots}\nimage = "{TAG}"\n'
            f'network = "host"\nlabels = ["{label}"]\ngpus = {gpus}\n[pool.gitea]\n'
            f'url = "{self.server.url}"\nscope = "{self.scope}"\n'
            f'token = {{ file = "{self.manager.home}/token" }}\n{tables}\n'
        )

    def dispatch(self, script: str, **inputs: str) -> int:
        """A run of that script; its id."""
        return self.server.dispatch(self.repository, script, **inputs)

    def job(self, run: int) -> dict[str, Any]:
        """The job of that run, as Gitea shows it."""
        return self.server.job(self.repository, run)

    def ended(self, run: int, patience: float = 90.0) -> str:
        """The job's result at Gitea once it is over."""
        until(lambda: self.job(run)["status"] == "completed", f"run {run} ends", patience)
        return str(self.job(run)["conclusion"])

    def began(self, run: int, patience: float = 60.0) -> dict[str, Any]:
        """The job once it runs."""
        until(lambda: self.job(run)["status"] == "in_progress", f"run {run} begins", patience)
        return self.job(run)

    def log(self, run: int) -> str:
        """What Gitea has of the job's output."""
        return self.server.log_of(self.repository, run)

    def runners(self) -> list[dict[str, Any]]:
        """All that Gitea has registered."""
        found: list[dict[str, Any]] = self.server.get("/admin/actions/runners?limit=50")["runners"]
        return found

    def runners_here(self) -> list[dict[str, Any]]:
        """Those of this manager's that Gitea has registered."""
        mark = f"mayfly-{self.manager.host_id()}-g"
        return [
            runner
            for runner in self.runners()
            if mark in [label["name"] for label in runner["labels"]]
        ]

    def go_on(self, slot: str = "g-0") -> None:
        """Let a job that waits for it (``WAITS``) end."""
        self.manager.let_go_in(slot)

    def history(self, least: int = 1, patience: float = 60.0) -> list[dict[str, Any]]:
        """The agents that have ended, oldest first, once there are so many."""

        def look() -> list[dict[str, Any]] | None:
            rows = self.manager.json("history")["agents"]
            rows = [row for row in rows if row["opened"] is not None]
            return rows if len(rows) >= least else None

        return until(look, f"{least} agents have ended", patience)


def image(built: Parts) -> str:
    """The agent image with Gitea's own runner and git, which is there afterwards."""
    return image_with("gitea", Stub(RUNNER, built.runner.read_bytes, {"PACKAGES": "git"}), TAG)


@contextmanager
def gitea_pool(
    engine: PrivateEngine, server: GiteaServer, name: str, given: Manager | None = None
) -> Iterator[GiteaPool]:
    """A repository of that name and a manager (``given``: that one) that is configured for it and not yet
    started.
    """
    engine.fetch(TAG)
    way = Forwarder(engine.listen(server.port), server.port)
    try:
        with given or Manager(engine.url) as manager:
            repository = server.make_repository("ourlab", name)
            pool = GiteaPool(engine, server, manager, repository, f"repo:{repository}")
            pool.secret(server.token("write:repository"))
            pool.configure()
            yield pool
    finally:
        way.close()
