"""``mayfly images pull`` as a user types it: a real Engine, a real registry, a configuration's images."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.model import GATE_PROTOCOL, LABEL_GATE
from tests.engine.private_engine import PrivateEngine, why_not
from tests.engine.registry import PASSWORD, USER, Registry
from tests.harness import Manager

pytestmark = [pytest.mark.long, pytest.mark.engine]
GATED = "mayfly/local:cpu"


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine() as made:
        yield made


@pytest.fixture(scope="module")
def registry(engine: PrivateEngine) -> Iterator[Registry]:
    with Registry(engine) as made:
        yield made


def pool(image: str) -> str:
    return f'[[pool]]\nname = "local"\nimage = "{image}"\nnetwork = "none"\n'


def published(engine: PrivateEngine, tag: str, label: str = f"{LABEL_GATE}={GATE_PROTOCOL}") -> str:
    """A small image with that label, pushed and then forgotten by the Engine; its digest."""
    archive = engine.home / "root.tar"
    with tarfile.open(archive, "w") as made:
        entry = tarfile.TarInfo("word")
        entry.size = len(tag)
        made.addfile(entry, io.BytesIO(tag.encode()))
    engine.docker("import", "--change", f"LABEL {label}", str(archive), tag)
    return pushed(engine, tag)


def pushed(engine: PrivateEngine, tag: str) -> str:
    """Push an image and have the Engine forget it; its digest."""
    said = engine.docker("push", tag)
    engine.docker("rmi", tag)
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    assert found is not None, said
    return found[1]


def told(stderr: str) -> list[str]:
    """What Mayfly itself said."""
    return [line for line in stderr.splitlines() if line.startswith("mayfly: ")]


def test_an_image_is_fetched_with_its_progress_and_agents_are_made_of_it(
    engine: PrivateEngine, registry: Registry
) -> None:
    tag = f"{registry.address}/lab/agent:1"
    made = engine.docker("create", GATED)
    engine.docker("cp", __file__, f"{made}:/layer")
    engine.docker("commit", made, tag)
    engine.docker("rm", made)
    digest = pushed(engine, tag)
    with Manager(engine.url, pool(tag)) as manager:
        done = manager.cli("images", "pull")
        assert (done.returncode, done.stdout) == (0, f"{tag} {digest}\n")
        first, last = told(done.stderr)
        assert first == f"mayfly: fetching {tag}"
        assert re.fullmatch(rf"mayfly: {tag} was fetched in \d+\.\d s", last)
        assert "Pulling fs layer" in done.stderr
        assert "Pull complete" in done.stderr
        recorded = json.loads(
            engine.docker("image", "inspect", "--format", "{{json .RepoDigests}}", tag)
        )
        assert recorded == [f"{registry.address}/lab/agent@{digest}"]
        manager.start()
        assert manager.ended(manager.submit("test", "-s", "/layer"))["exit_code"] == 0
        again = manager.cli("images", "pull")
        assert (again.returncode, again.stdout) == (0, done.stdout)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("127.0.0.1:4999/lab/agent:1", "its registry 127.0.0.1:4999 is not reached; see to the network"),
        ("{open}/lab/agent:none", "its registry does not have it; see to the name and the tag"),
        ("{locked}/lab/agent:1", "its registry wants a login, or refuses the one it was given"),
    ],
    ids=["a registry that is not there", "an unknown tag", "no login"],
)  # fmt: skip
def test_what_cannot_be_fetched_is_one_sentence_and_the_others_are_fetched(
    engine: PrivateEngine, registry: Registry, tmp_path: Path, image: str, says: str
) -> None:
    good = f"{registry.address}/lab/good:1"
    published(engine, good)
    with Registry(engine, locked=True) as locked:
        names = {"open": registry.address, "locked": locked.address}
        wanted = image.format(**names)
        second = pool(wanted).replace('"local"', '"other"')
        with Manager(engine.url, pool(good) + second) as manager:
            done = manager.cli("images", "pull")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == [good]
    (sentence,) = [line for line in told(done.stderr) if "was not fetched" in line]
    assert sentence.startswith(f"mayfly: image {wanted} was not fetched: {says.format(**names)}")
    assert told(done.stderr)[-1] == f"mayfly: no agent can be made of {wanted}"
    assert "Error response from daemon" not in done.stderr


def test_a_login_is_the_one_that_docker_login_has_kept(
    engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Registry(engine, locked=True) as locked:
        engine.docker("login", "--username", USER, "--password", PASSWORD, locked.address)
        tag = f"{locked.address}/lab/agent:1"
        digest = published(engine, tag)
        with Manager(engine.url, pool(tag)) as manager:
            assert manager.cli("images", "pull").stdout == f"{tag} {digest}\n"
            engine.docker("rmi", tag)
            engine.docker("logout", locked.address)
            assert "wants a login" in manager.cli("images", "pull").stderr


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("lab=1", "has no Mayfly gate"),
        ("io.mayfly.gate=0", f"speaks gate protocol 0, this manager {GATE_PROTOCOL}"),
    ],
    ids=["no gate", "another gate"],
)
def test_an_image_that_no_agent_can_be_made_of_is_refused_by_pull_doctor_and_manager(
    engine: PrivateEngine, registry: Registry, label: str, says: str
) -> None:
    tag = f"{registry.address}/lab/unfit:{len(says)}"
    published(engine, tag, label)
    with Manager(engine.url, pool(tag)) as manager:
        done = manager.cli("images", "pull")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{tag} {says}" in told(done.stderr)[-2]
        checks = {row["code"]: row for row in manager.json("doctor")["checks"]}
        assert checks["image.present"]["state"] == "fail"
        assert f"{tag} {says}" in checks["image.present"]["text"]
        manager.start(wait="answer")
        assert f"{tag} {says}" in manager.in_phase("held")["note"]


def test_mayfly_s_own_names_are_fetched_from_the_registry_that_is_named_and_no_other(
    engine: PrivateEngine, registry: Registry
) -> None:
    mirrored = f"{registry.address}/mirror/local:cpu"
    engine.docker("tag", GATED, mirrored)
    engine.docker("push", mirrored)
    with Manager(engine.url, '[[pool]]\nname = "local"\n') as manager:
        here = manager.cli("images", "pull")
        assert here.returncode == 0
        assert f"{GATED} was not fetched: it is here already" in here.stderr
        engine.docker("rmi", GATED, mirrored)
        nowhere = manager.cli("images", "pull")
        assert (nowhere.returncode, nowhere.stdout) == (1, "")
        assert f"image {GATED} is in no registry that is known" in told(nowhere.stderr)[0]
        done = manager.cli("images", "pull", "--from", f"{registry.address}/mirror")
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(rf"{GATED} sha256:[0-9a-f]{{64}}\n", done.stdout)
        manager.start()
        assert manager.ended(manager.submit("true"))["exit_code"] == 0
