"""`mayfly config migrate`: shows what it would change, changes it, and then has nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.providers.configuration import load
from tests.cli.conftest import Mayfly

MAIN = """\
[host]
name = "lab"

[[pool]]
name = "gpu"
provider = "github"   # where jobs come from
url = "https://github.com/lab"
app = "12"
app_key = { file = "/etc/app.pem" }
"""
DROP_IN = '[[pool]]\nname = "gpu"\nagent_pool = "big"  # ours\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file and a drop-in from before, each with a mode of its own."""
    path = tmp_path / "config.toml"
    path.write_text(MAIN)
    path.chmod(0o640)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/big.toml").write_text(DROP_IN)
    return path


def test_an_old_key_is_told_by_the_check_and_is_no_mistake(mayfly: Mayfly, config: Path) -> None:
    ran = mayfly("config", "check", "--config", config)
    assert ran.code == 0
    drop_in = config.parent / "conf.d/big.toml"
    assert (
        f'{drop_in}:3: [[pool]] "gpu" agent_pool: is an old key: say runner_group in [pool.github]'
        in ran.err
    )
    assert (
        f'{config}:9: [[pool]] "gpu" app_key: is an old key: say app.key in [pool.github]'
        in ran.err
    )


def test_it_shows_what_it_would_change_and_changes_it_once(mayfly: Mayfly, config: Path) -> None:
    before = load(config, environ={}).config
    drop_in = config.parent / "conf.d/big.toml"
    ran = mayfly("config", "migrate", "--config", config)
    assert ran.code == 0
    assert "+[pool.github]" in ran.out
    assert '-agent_pool = "big"  # ours' in ran.out
    assert '+runner_group = "big"  # ours' in ran.out
    assert "--write" in ran.err
    assert (config.read_text(), drop_in.read_text()) == (MAIN, DROP_IN)

    assert mayfly("config", "migrate", "--write", "--config", config).code == 0
    assert drop_in.read_text() == (
        '[[pool]]\nname = "gpu"\n\n[pool.github]\nrunner_group = "big"  # ours\n'
    )
    assert 'provider = "github"   # where jobs come from\n' in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o640
    after = load(config, environ={}).config
    assert after == before
    assert (len(before.old_keys), after.old_keys) == (4, ())

    again = mayfly("config", "migrate", "--write", "--config", config)
    assert (again.code, again.out) == (0, "")
    assert "every key stands where it belongs" in again.err


def test_what_it_cannot_change_stays_as_it_is(mayfly: Mayfly, config: Path) -> None:
    text = 'pool = [{ name = "gpu", provider = "github", url = "https://github.com/lab", '
    text += 'token = { file = "/t" } }]\n'
    config.write_text(text)
    ran = mayfly("config", "migrate", "--write", "--config", config)
    assert ran.code == 1
    assert f"{config}: its pools are written on one line" in ran.err
    assert config.read_text() == text
