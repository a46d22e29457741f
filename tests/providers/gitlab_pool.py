"""A real manager on a real Engine with the fake GitLab and the stub runner: shared by the tests and the soak.

Where MAYFLY_TEST_GITLAB_RUNNER names GitLab's own binary, that is what is in the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.engine.private_engine import PrivateEngine
from tests.fakes.gitlab import FINAL, FakeGitLab
from tests.harness import Manager, until
from tests.images import stub_image

SCOPES = ("create_runner", "manage_runner", "read_api")


@dataclass
class GitLabPool:
    """The three of them."""

    engine: PrivateEngine
    fake: FakeGitLab
    manager: Manager
    tag: str
    first: str = (
        ""  # of tests that share it: the agent that the one which runs has found in its slot
    )

    def secret(self, text: str) -> None:
        """Put a token where the pool's `token` points."""
        file = self.manager.home / "token"
        file.write_text(text)
        file.chmod(0o600)

    def pools(self, slots: int = 2, keys: str = "", scope: str | None = "group:10") -> str:
        """The configuration's pool tables."""
        # In the namespace of the Engine the service is on the same address as out here.
        where = f'scope = "{scope}"\n' if scope is not None else ""
        return (
            f'[[pool]]\nname = "gl"\nprovider = "gitlab"\nslots = {slots}\nimage = "{self.tag}"\n'
            f'url = "{self.fake.url}"\n{where}network = "host"\n'
            f'token = {{ file = "{self.manager.home}/token" }}\nlabels = ["gpu"]\n{keys}\n'
        )

    def configure(self, slots: int = 2, keys: str = "", scope: str | None = "group:10") -> None:
        """Write the configuration: keys of the pool table, and further tables after them."""
        if "calls_per_hour" not in keys:
            keys = "calls_per_hour = 36000\n" + keys
        self.manager.configure(self.pools(slots, keys, scope))

    def ended(self, job: int, patience: float = 60.0) -> str:
        """The job's state at GitLab once it is over."""
        until(lambda: self.fake.jobs[job].state in FINAL, f"job {job} ends", patience)
        return self.fake.jobs[job].state


@contextmanager
def gitlab_pool(engine: PrivateEngine) -> Iterator[GitLabPool]:
    """A service and a manager that is configured with a person's token and not yet started."""
    tag = stub_image("gitlab")
    engine.fetch(tag)
    with FakeGitLab(hold=2.0) as fake, Manager(engine.url) as manager:
        fake.start_on(engine.listen(fake.port))
        pool = GitLabPool(engine, fake, manager, tag)
        pool.secret(fake.person(*SCOPES))
        pool.configure()
        yield pool
