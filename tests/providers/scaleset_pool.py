"""A real manager on a real Engine with the fake GitHub's scale sets and the stub runner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.engine.private_engine import PrivateEngine
from tests.fakes.github_scale_sets import FakeScaleSets
from tests.harness import Manager
from tests.providers.github_pool import GitHubPool, github_pool


@dataclass
class ScaleSetPool(GitHubPool):
    """A pool that is handed its jobs."""

    fake: FakeScaleSets

    def pools(self, slots: int = 2, keys: str = "", url: str | None = None) -> str:
        token = self.manager.home / "token"
        if not token.exists():
            token.write_text("ghp_good")
            token.chmod(0o600)
        own, _, env = keys.partition("[pool.env]")
        calls = [line for line in own.splitlines() if line.startswith("calls_per_hour")]
        rest = "\n".join(line for line in own.splitlines() if line not in calls)
        place = url or f"{self.fake.url}/acme"
        return (
            f'[[pool]]\nname = "gh"\nprovider = "github"\nslots = {slots}\nimage = "{self.tag}"\n'
            f'labels = ["gpu"]\n{rest}\n[pool.github]\nurl = "{place}"\nrunner_group = "gpu"\n'
            f'enrolment = "scaleset"\nscale_set = "box-gh"\ntoken = {{ file = "{token}" }}\n'
            + "\n".join(calls)
            + f"\n[pool.env]{env}"
        )


@contextmanager
def scaleset_pool(engine: PrivateEngine) -> Iterator[ScaleSetPool]:
    """A service and a manager that is configured and not yet started."""
    with github_pool(engine, FakeScaleSets) as made:
        fake, manager = made.fake, made.manager
        assert isinstance(fake, FakeScaleSets)
        assert isinstance(manager, Manager)
        fake.poll_hold, fake.linger, fake.lapse = 8.0, 2.0, 20.0
        one = ScaleSetPool(made.engine, fake, manager, made.tag)
        one.configure()
        yield one
