"""A real manager on a real Engine with the fake Azure DevOps and the stub agent: what tests and soak share.

The agents have the network `host`, in which the fake answers at the address that the manager knows it by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.engine.private_engine import PrivateEngine
from tests.fakes.azure import FakeAzure
from tests.harness import Manager
from tests.images import stub_image


@dataclass
class AzurePool:
    """The three of them."""

    engine: PrivateEngine
    fake: FakeAzure
    manager: Manager
    tag: str

    def pools(self, slots: int = 2, keys: str = "") -> str:
        """The configuration's pool tables."""
        token = self.manager.home / "token"
        if not token.exists():
            token.write_text("pat-good")
            token.chmod(0o600)
        return (
            f'[[pool]]\nname = "az"\nprovider = "azure"\nslots = {slots}\nimage = "{self.tag}"\n'
            f'url = "{self.fake.organisation}"\nagent_pool = "gpu"\nnetwork = "host"\n'
            f'token = {{ file = "{token}" }}\n{keys}\n'
        )

    def configure(self, slots: int = 2, keys: str = "") -> None:
        """Write the configuration: keys of the pool table, and further tables after them."""
        if "calls_per_hour" not in keys:
            keys = "calls_per_hour = 36000\n" + keys
        if "[pool.env]" not in keys:
            keys += '\n[pool.env]\nSTUB_PACE = "20"\n'
        self.manager.configure(self.pools(slots, keys))

    def calls(self) -> dict[str, int]:
        """How many calls the manager made, by what they were for."""
        found: dict[str, int] = {}
        with self.fake.lock:
            for call in self.fake.calls:
                if "mayfly" in call.headers.get("user-agent", ""):
                    path = re.sub(r"/[0-9]+", "/ID", call.path.partition("/_apis/")[2])
                    kind = f"{call.method} {path.removeprefix('distributedtask/')}"
                    found[kind] = found.get(kind, 0) + 1
        return dict(sorted(found.items()))


@contextmanager
def azure_pool(engine: PrivateEngine) -> Iterator[AzurePool]:
    """A service and a manager that is configured and not yet started."""
    tag = stub_image("azure")
    engine.fetch(tag)
    with FakeAzure() as fake, Manager(engine.url) as manager:
        fake.start_on(engine.listen(fake.port))
        fake.lapse, fake.renewal, fake.hold = 12.0, 60.0, 4.0
        pool = AzurePool(engine, fake, manager, tag)
        pool.configure()
        yield pool
