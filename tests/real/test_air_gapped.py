"""docs/how-to/air-gapped.md, line by line: packed on this machine, unpacked in a box without any network.

The Engine of the box has none either, and no image but those that were carried in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine, why_not
from tests.pages import consoles
from tests.source import source
from tests.systemd.box import Box, make_image

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
PAGE = "docs/how-to/air-gapped.md"
BLOCKS = [console for console in consoles() if console.page == PAGE]
PACK, UNPACK, BUILD, UPGRADE = range(4)


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A checkout of Mayfly's, on which the first block of the page was typed."""
    if shutil.which("docker") is None:
        pytest.skip("no Docker to take an image from")
    with source() as made:
        for command, shown in BLOCKS[PACK].typed:
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=made,
                # (Python is the one that runs this, which pip downloads for.)
                env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            assert set(shown) - {"…"} <= set(done.stdout.splitlines()), (command, done.stdout)
        yield made


@pytest.fixture(scope="module")
def box(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One that reaches nothing, with the folder that was carried in; nothing is installed."""
    if (why := why_not() or make_image()) is not None:
        pytest.skip(why)
    nothing = tmp_path_factory.mktemp("no-wheels")
    with PrivateEngine() as engine, Box(engine, checkout, nothing, network="none") as made:
        for image in engine.docker("images", "--quiet").split():
            engine.docker("rmi", "--force", image, check=False)
        made.share_state()
        yield made


def typed(box: Box, block: int, codes: dict[str, int] | None = None) -> dict[str, str]:
    """What each line of a block prints when root types it, which is what the page shows of it."""
    said = {}
    for command, shown in BLOCKS[block].typed:
        bare = command.replace("sudo ", "")
        said[bare] = box.show(bare, (codes or {}).get(bare, 0))
        missing = {line for line in shown if line != "…" and line not in said[bare]}
        assert not missing, (bare, missing, said[bare])
    return said


def test_the_box_reaches_nothing(box: Box) -> None:
    interfaces = box.must("cat /proc/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert box.engine.docker("images", "--quiet") == ""


def test_what_was_carried_in_makes_a_box_that_runs_a_job(box: Box) -> None:
    said = typed(box, UNPACK)
    assert "hello from local-0" in said["mayfly init --provider local --slots 2 --canary"]
    assert "✗" not in said["mayfly doctor"]
    assert box.must("mayfly submit --wait -- echo green") == "green"


def test_a_build_that_wants_to_fetch_says_that_there_is_no_network(box: Box) -> None:
    typed(box, BUILD, {"mayfly images build cpu": 1})


def test_an_image_gets_a_new_gate_from_what_is_there(box: Box) -> None:
    before = box.engine.docker("images", "--quiet", "--no-trunc", "mayfly/local:cpu")
    box.must("mayfly images build cpu --base mayfly/local:cpu")
    assert box.engine.docker("images", "--quiet", "--no-trunc", "mayfly/local:cpu") != before
    box.must("mayfly wait --for idle --timeout 120s")
    assert box.must("mayfly submit --wait -- echo green") == "green"


def test_the_daily_look_for_newer_clients_finds_nothing_to_do(box: Box) -> None:
    box.must("systemctl start mayfly-refresh.service")


def test_jobs_install_from_the_folder_that_the_pool_mounts(box: Box) -> None:
    box.must(f"cp -r carried {box.home}/wheels && chmod -R a+rX {box.home}/wheels")
    dataset = (
        f'[[pool]]\nname = "local"\nenv = {{ PIP_NO_INDEX = "1" }}\n[[pool.dataset]]\n'
        f'source = "{box.home}/wheels"\ntarget = "/wheels"\nenv = "PIP_FIND_LINKS"\n'
    )
    assert box.sh("cat >/etc/mayfly/conf.d/20-wheels.toml", dataset).returncode == 0
    box.must("mayfly reload && mayfly wait --for idle --timeout 120s")
    said = box.must(
        "mayfly submit --wait -- sh -c 'python3 -m venv v && v/bin/pip install -q h11 && "
        'v/bin/python -c "import h11; print(h11.__name__)"\''
    )
    assert said.splitlines()[-1] == "h11"


def test_an_upgrade_is_carried_in_the_same_way(box: Box) -> None:
    typed(box, UPGRADE)
    assert box.must("mayfly submit --wait -- echo green") == "green"
