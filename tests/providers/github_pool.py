"""A real manager on a real Engine with the fake GitHub and the stub runner; tests and soak share it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.engine.private_engine import PrivateEngine
from tests.fakes.github import FakeGitHub
from tests.harness import Manager
from tests.images import stub_image
from tests.providers.test_github_contract import make_key, public_numbers

BRIDGE = "172.17.0.1"  # the Engine's own bridge: every container reaches it


@dataclass
class GitHubPool:
    """The three of them."""

    engine: PrivateEngine
    fake: FakeGitHub
    manager: Manager
    tag: str

    def pools(self, slots: int = 2, keys: str = "", url: str | None = None) -> str:
        """The configuration's pool tables."""
        token = self.manager.home / "token"
        if not token.exists():
            token.write_text("ghp_good")
            token.chmod(0o600)
        place = url or f"{self.fake.url}/acme"
        return (
            f'[[pool]]\nname = "gh"\nprovider = "github"\nslots = {slots}\nimage = "{self.tag}"\n'
            f'url = "{place}"\nagent_pool = "gpu"\n'
            f'token = {{ file = "{token}" }}\nlabels = ["gpu"]\n{keys}\n'
        )

    def configure(self, slots: int = 2, keys: str = "", url: str | None = None) -> None:
        """Write the configuration: keys of the pool table, and further tables after them."""
        if "calls_per_hour" not in keys:
            keys = "calls_per_hour = 36000\n" + keys
        if "[pool.env]" not in keys:
            keys += '\n[pool.env]\nSTUB_PACE = "20"\n'
        self.manager.configure(self.pools(slots, keys, url))

    def use_app(self) -> list[str]:
        """Have what is configured be an App's instead of a token's; the lines of its key."""
        pem = make_key(self.manager.home)
        key = public_numbers(pem)
        self.fake.apps["4711"] = (key.n, key.e)
        text = self.manager.config.read_text()
        token = next(line for line in text.splitlines() if line.startswith("token"))
        app = f'app = "4711"\napp_key = {{ file = "{self.manager.home}/app.pem" }}'
        self.manager.config.write_text(text.replace(token, app))
        return pem.splitlines()

    def calls(self) -> dict[str, int]:
        """How many calls the manager made, by what they were for."""
        found: dict[str, int] = {}
        with self.fake.lock:
            for call in self.fake.calls:
                if call.path.startswith("/api/v3") and "mayfly" in call.headers.get(
                    "user-agent", ""
                ):
                    kind = f"{call.method} {re.sub(r'/[0-9]+$', '/ID', call.path.removeprefix('/api/v3'))}"
                    found[kind] = found.get(kind, 0) + 1
        return dict(sorted(found.items()))


@contextmanager
def github_pool(
    engine: PrivateEngine, service: Callable[[], FakeGitHub] = FakeGitHub
) -> Iterator[GitHubPool]:
    """A service and a manager that is configured and not yet started."""
    tag = stub_image("github")
    engine.fetch(tag)
    with service() as fake, Manager(engine.url) as manager:
        fake.start_on(engine.listen(fake.port, "0.0.0.0"))
        fake.agents_url = f"http://{BRIDGE}:{fake.port}"
        fake.silence, fake.pickup, fake.abandon, fake.hold = 12.0, 6.0, 6.0, 8.0
        pool = GitHubPool(engine, fake, manager, tag)
        pool.configure()
        yield pool
