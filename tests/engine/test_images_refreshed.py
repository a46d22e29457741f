"""`mayfly images refresh`: what is built again, and what is left as it is, on a real Engine.

The `docker` that builds is a program of the test's own: it makes an image of the same labels, with nothing in
it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.cli.image_refreshing import refresh
from mayfly.cli.trouble import Trouble
from mayfly.core.client_release import DAY
from mayfly.core.image_build import ImageBuild
from mayfly.core.model import (
    LABEL_BUILD,
    LABEL_CLIENT,
    LABEL_PROVIDER,
    Config,
    HostSpec,
    PoolName,
)
from mayfly.edge import build_records, client_records
from tests.engine.private_engine import PrivateEngine
from tests.fakes.github import FakeGitHub, Token
from tests.providers.contract import pool, secret_file

NOW = 1_800_000_000.0
# Of a build it takes the tag, the labels and the client's version.
DOCKER = """#!/bin/bash
set -eu
if [ "$1" = buildx ]; then exit 1; fi
case " $* " in *" dockerfiles/Dockerfile "*) ;; *) exec REAL "$@" ;; esac
words=()
version=none
while [ $# -gt 0 ]; do
  case $1 in
    --tag | --label) words+=("$1" "$2"); shift ;;
    RUNNER_VERSION=*) version=${1#*=} ;;
  esac
  shift
done
printf 'FROM scratch\\nLABEL io.mayfly.client=%s\\n' "$version" | REAL build -q "${words[@]}" - >&2
"""


class Lab:
    """A host with one pool at GitHub, and an image for it."""

    def __init__(self, engine: PrivateEngine, service: FakeGitHub, home: Path) -> None:
        self.engine, self.service, self.home = engine, service, home
        self.now = NOW
        self.name = f"mayfly/github:refreshed-{os.getpid()}"
        spec = pool(
            "github",
            url=f"{service.url}/acme",
            token=secret_file(home, "token", "ghp_good"),
            image=self.name,
        )
        self.state = home / "state"
        host = HostSpec("box", docker_host=engine.url, state_dir=str(self.state))
        self.config = Config(host, (spec,))

    def make(self, version: str, *labels: str) -> str:
        """An image with that client, which nobody has a record of; its id."""
        text = "".join(["FROM scratch\n", *(f"LABEL {label}\n" for label in labels)])
        (self.home / "Dockerfile").write_text(f"{text}LABEL {LABEL_CLIENT}={version}\n")
        return self.engine.docker("build", "-q", "-t", self.name, str(self.home)).strip()

    def built(self, version: str, provider: str = "github", **arguments: str) -> None:
        """An image with that client that this installation built, as its record has it."""
        plan = ImageBuild("cpu", provider, arguments=arguments, tag=self.name)
        build_records.note(self.state, self.make(version, label(plan)), plan)

    def refresh(self, **options: bool | float) -> None:
        refresh(self.config, clock=lambda: self.now, **options)  # type: ignore[arg-type]

    @property
    def client(self) -> str:
        form = '{{index .Config.Labels "io.mayfly.client"}}'
        return self.engine.docker("inspect", "--format", form, self.name).strip()


@pytest.fixture
def lab(engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    real = shutil.which("docker")
    assert real is not None
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.replace("REAL", real))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with FakeGitHub() as service:
        service.tokens["ghp_good"] = Token()
        made = Lab(engine, service, tmp_path)
        yield made
        engine.docker("rmi", "-f", made.name)


def label(plan: ImageBuild) -> str:
    """The label of how it was built, as a Dockerfile has it."""
    return f"{LABEL_BUILD}={json.dumps(plan.label())}"


def test_an_image_is_built_again_ten_days_before_its_client_is_refused(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.service.hands_out = "2.336.0"
    lab.built("2.336.0", PACKAGES="git")
    lab.refresh()
    assert "is 2.336.0, the newest that is known" in capsys.readouterr().out
    lab.service.hands_out = "2.337.0"
    lab.now += 19 * DAY
    lab.refresh()
    assert "the older one is refused in 11 days" in capsys.readouterr().out
    assert lab.client == "2.336.0"
    lab.now += 1 * DAY
    lab.refresh(dry_run=True)
    assert f"{lab.name}: would be built with 2.337.0" in capsys.readouterr().out
    assert lab.client == "2.336.0"
    lab.refresh()
    assert lab.client == "2.337.0"
    assert (
        json.loads(lab.engine.docker("inspect", "-f", "{{json .Config.Labels}}", lab.name))[
            LABEL_BUILD
        ]
        == ImageBuild("cpu", "github", arguments={"PACKAGES": "git"}, tag=lab.name).label()
    )
    again = lab.engine.docker("inspect", "--format", "{{.Id}}", lab.name).strip()
    plan = ImageBuild("cpu", "github", arguments={"PACKAGES": "git"}, tag=lab.name)
    assert build_records.read(lab.state)[again] == plan
    lab.refresh(newest=True)
    assert "is 2.337.0, the newest that is known" in capsys.readouterr().out
    kept = client_records.read(lab.state)
    assert {one.version for one in kept.offers["gpu"]} == {"2.336.0", "2.337.0"}
    assert len(kept.pins) == 1


def test_whatever_is_not_the_newest_is_built_where_that_is_wanted(lab: Lab) -> None:
    lab.service.hands_out = "2.337.0"
    lab.built("2.336.0")
    lab.refresh()
    assert lab.client == "2.336.0"
    lab.refresh(newest=True)
    assert lab.client == "2.337.0"


@pytest.mark.parametrize("says", ["nothing", "a plan"])
def test_an_image_that_nobody_here_built_is_told_and_never_built_over(
    lab: Lab, capsys: pytest.CaptureFixture[str], says: str
) -> None:
    """What its label says is its maker's, also where it says a plan as a build here would."""
    lab.service.hands_out = "2.337.0"
    plan = ImageBuild("cpu", "github", base="evil.example/base", tag=lab.name)
    lab.make("2.336.0", *([label(plan)] if says == "a plan" else []))
    with pytest.raises(Trouble, match=f"not refreshed: {lab.name}"):
        lab.refresh(newest=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "this installation has no record of building it" in told
    assert f"`mayfly images build cpu --provider github --tag {lab.name}`" in told
    assert "evil" not in told
    assert lab.client == "2.336.0"


def test_an_image_that_was_built_under_another_name_is_told(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.service.hands_out = "2.337.0"
    plan = ImageBuild("cpu", "github", tag="mayfly/github:other")
    build_records.note(lab.state, lab.make("2.336.0", label(plan)), plan)
    with pytest.raises(Trouble, match=f"not refreshed: {lab.name}"):
        lab.refresh(newest=True)
    assert "it was built as mayfly/github:other" in " ".join(capsys.readouterr().err.split())
    assert lab.client == "2.336.0"


@pytest.mark.parametrize("says", ["x" * 50_000, "2.336.0\x1b[2J"])
def test_a_client_that_is_no_version_is_told_in_bounds(
    lab: Lab, capsys: pytest.CaptureFixture[str], says: str
) -> None:
    lab.make(f'"{says}"')
    with pytest.raises(Trouble, match=f"not refreshed: {lab.name}"):
        lab.refresh(newest=True)
    said = capsys.readouterr()
    assert "says no version of a client" in said.err
    assert len(said.out + said.err) < 2000
    assert "\x1b" not in said.out + said.err


def test_one_image_s_trouble_is_told_and_the_others_are_built(lab: Lab) -> None:
    lab.service.hands_out = "2.337.0"
    lab.built("2.336.0")
    other = f"lab/first:{os.getpid()}"  # its name is before the other's
    lab.engine.docker("build", "-q", "-t", other, str(lab.home))  # which has no record
    (pool,) = lab.config.pools
    first = replace(pool, name=PoolName("first"), image=other)
    lab.config = replace(lab.config, pools=(first, pool))
    try:
        with pytest.raises(Trouble, match=f"not refreshed: {other}$"):
            lab.refresh(newest=True)
    finally:
        lab.engine.docker("rmi", other)
    assert lab.client == "2.337.0"


def test_what_nobody_foresaw_is_told_of_its_image(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the command that builds is no program."""
    lab.service.hands_out = "2.337.0"
    lab.built("2.336.0")
    program = shutil.which("docker")
    assert program is not None
    Path(program).write_bytes(b"\x7fELF")
    with pytest.raises(Trouble, match=f"not refreshed: {lab.name}"):
        lab.refresh(newest=True)
    told = " ".join(capsys.readouterr().err.split())
    assert f"{lab.name}: a bug in Mayfly, please report it: OSError: " in told


def test_an_image_that_is_built_from_one_of_ours_is_never_replaced(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """It inherits the labels of what it stands on."""
    lab.service.hands_out = "2.337.0"
    lab.make(
        "2.336.0", label(ImageBuild("cpu", "github", tag="mayfly/github:cuda12.8")), "ours=yes"
    )
    with pytest.raises(Trouble, match=f"not refreshed: {lab.name}"):
        lab.refresh(newest=True)
    assert (
        "it is built FROM mayfly/github:cuda12.8: build that one again" in capsys.readouterr().err
    )
    assert lab.client == "2.336.0"


@pytest.mark.parametrize("says", ["its launcher", "its record"])
def test_an_image_of_another_provider_is_told_and_never_replaced(
    lab: Lab, capsys: pytest.CaptureFixture[str], says: str
) -> None:
    lab.service.hands_out = "2.337.0"
    if says == "its launcher":
        lab.make("2.336.0", f"{LABEL_PROVIDER}=gitlab")
    else:
        lab.built("2.336.0", "gitlab")
    with pytest.raises(Trouble, match=f"not refreshed: {lab.name}"):
        lab.refresh(newest=True)
    told = capsys.readouterr().err
    assert "for provider gitlab, and pool gpu is of github" in " ".join(told.split())
    assert lab.client == "2.336.0"


def test_a_service_that_does_not_answer_spoils_nothing_for_the_others(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.service.hands_out = "2.336.0"
    lab.built("2.336.0")
    lab.refresh()
    lab.service.tokens.clear()
    with pytest.raises(Trouble, match="not refreshed: pool gpu"):
        lab.refresh()
    said = capsys.readouterr()
    assert "the token is wrong or has expired" in said.err
    assert "is 2.336.0, the newest that is known" in said.out
