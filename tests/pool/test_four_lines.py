"""From nothing to a job that ran, on a host with an Engine and no configuration: four typed lines.

They are `mayfly init`, where it asks for service, address and token; `mayfly run` (in place of systemd:
`tests/systemd` has it with the real one); and the job at the service. How long each took is printed.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.azure import FakeAzure
from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FINAL, FakeGitLab
from tests.harness import Manager, until
from tests.images import stub_image
from tests.pages import consoles
from tests.providers.gitlab_pool import SCOPES
from tests.terminal import Terminal

if TYPE_CHECKING:
    from tests.engine.private_engine import PrivateEngine

pytestmark = [pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(300)]


@dataclass
class Service:
    """A service that nobody has set anything up for."""

    fake: Any
    # as its page calls it
    url: str
    # what is typed at init: each question's beginning, and the answer
    talk: list[tuple[str, str]]
    # queues a job and waits for it to end; whether it succeeded
    job: Callable[[], bool]


@contextmanager
def github() -> Iterator[Service]:
    with FakeGitHub() as fake:
        fake.hold = 8.0

        def job() -> bool:
            made = fake.queue("echo hello", ("self-hosted", "github"))
            until(lambda: made.state == "completed", "the job ends")
            return made.conclusion == "succeeded"

        talk = [("Its URL", f"{fake.url}/acme"), ("Its token", "ghp_good"), ("Which runner", "2")]
        yield Service(fake, "https://github.com/ourlab", talk, job)


@contextmanager
def azure() -> Iterator[Service]:
    with FakeAzure() as fake:
        fake.hold = 4.0

        def job() -> bool:
            made = fake.queue("echo hello")
            until(lambda: made.result is not None, "the job ends")
            return made.result == "succeeded"

        talk = [("Its URL", fake.organisation), ("Its token", "pat-good"), ("Which agent", "2")]
        yield Service(fake, "https://dev.azure.com/ourlab", talk, job)


@contextmanager
def gitlab() -> Iterator[Service]:
    with FakeGitLab(hold=2.0) as fake:

        def job() -> bool:
            made = fake.submit("echo hello", tags=["gitlab"])
            until(lambda: fake.jobs[made].state in FINAL, "the job ends")
            return fake.jobs[made].state == "success"

        token = fake.person(*SCOPES)
        talk = [("Its URL", fake.url), ("Its token", token), ("Where do its", "1")]
        yield Service(fake, "https://gitlab.com", talk, job)


def plain(text: str) -> str:
    """What a person reads, without numbers and where lines end."""
    return " ".join(re.sub(r"[0-9]+", "0", text).split())


def of_page(provider: str) -> list[str]:
    """What the service's page shows of it, up to where it is cut."""
    (block,) = (
        one for one in consoles() if (one.page, one.number) == (f"docs/how-to/{provider}.md", 0)
    )
    ((_, lines),) = block.typed
    return [line for line in lines if line != "…"]


SERVICES = {"github": github, "azure": azure, "gitlab": gitlab}


@pytest.mark.parametrize("provider", SERVICES)
def test_four_typed_lines_lead_from_nothing_to_a_job(engine: PrivateEngine, provider: str) -> None:
    tag, took = stub_image(provider), []
    engine.fetch(tag)
    engine.docker("tag", tag, f"mayfly/{provider}:cpu")
    with SERVICES[provider]() as service, Manager(engine.url) as manager:
        service.fake.start_on(engine.listen(service.fake.port))
        manager.config.unlink()
        own = manager.config.with_name("conf.d") / "own.toml"
        own.parent.mkdir()
        own.write_text(f'[host]\nstate_dir = "{manager.state}"\nsocket = "{manager.socket}"\n')
        began = time.monotonic()
        host = manager.environment() | {"DOCKER_HOST": engine.url}
        command = ["env", *(f"{name}={value}" for name, value in host.items())]
        command += [sys.executable, "-m", "mayfly.cli.app", "init", "--plain-http"]
        screen = Terminal(command)
        try:
            at = 0
            for question, answer in (
                ("Where do jobs come from", provider),
                *service.talk,
                ("A name for the pool", ""),
                ("How many slots", "1"),
            ):
                screen.until(question, after=at)
                at = screen.seen.index(question, at)
                screen.until(": ", after=at)
                at = screen.seen.index(": ", at)
                screen.type(f"{answer}\n")
            code, shown = screen.end()
        finally:
            screen.close()
        assert code == 0, shown
        address = service.talk[0][1]
        appeared = plain(
            shown.replace(address, service.url)
            .replace(str(manager.home), "/etc/mayfly")
            .replace(engine.url, "unix:///var/run/docker.sock")
        )
        for line in of_page(provider):
            assert plain(line) in appeared, (line, appeared)
        took.append(
            f"{time.monotonic() - began:.1f} s  mayfly init, with service, address and token"
        )
        # The agents of the tests' Engine reach the fake where it is in its namespace.
        own.with_name("zz.toml").write_text(f'[[pool]]\nname = "{provider}"\nnetwork = "host"\n')
        began = time.monotonic()
        manager.start()
        took.append(f"{time.monotonic() - began:.1f} s  mayfly run, until a slot is idle")
        began = time.monotonic()
        assert service.job(), manager.log.read_text()
        took.append(f"{time.monotonic() - began:.1f} s  the job")
        print(provider, *took, sep="\n")
