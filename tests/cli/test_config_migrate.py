"""`mayfly config migrate`: shows what it would change, changes it, and then has nothing to do."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.cli.trouble import Trouble
from mayfly.cli.whole_file import replace_files
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
    assert f"{config}:1: pool: the pools are written as one list" in ran.err
    assert config.read_text() == text


def test_a_pool_that_a_drop_in_gives_to_another_provider_stays_what_it_is(
    mayfly: Mayfly, tmp_path: Path
) -> None:
    config, drop_in = tmp_path / "config.toml", tmp_path / "conf.d/10.toml"
    drop_in.parent.mkdir()
    config.write_text(
        '[[pool]]\nname = "a"\nprovider = "azure"\nurl = "https://dev.azure.com/lab"\n'
        'agent_pool = "gpu"\ntoken = { file = "/t" }\n'
    )
    drop_in.write_text('[[pool]]\nname = "a"\nprovider = "gitlab"\nurl = "https://gitlab.lab/g"\n')
    before = load(config, environ={}).config
    assert mayfly("config", "migrate", "--write", "--config", config).code == 0
    after = load(config, environ={}).config
    assert after == before
    assert (len(before.old_keys), after.old_keys) == (3, ())


def test_files_that_would_mean_another_thing_together_stay_as_they_are(
    mayfly: Mayfly, config: Path
) -> None:
    # The drop-in's inline table would replace nothing while the key stands in the pool, and is joined then.
    drop_in = config.parent / "conf.d/big.toml"
    drop_in.write_text(
        '[[pool]]\nname = "gpu"\ngithub = { runner_group = "big" }\nurl = "https://github.com/x"\n'
    )
    before = {file: file.read_bytes() for file in (config, drop_in)}
    ran = mayfly("config", "migrate", "--write", "--config", config)
    assert ran.code == 1
    assert f"{drop_in}:4: url cannot be moved by lines: a person has to rewrite it" in ran.err
    assert {file: file.read_bytes() for file in (config, drop_in)} == before


def test_a_link_stays_one_and_its_target_keeps_owner_group_and_mode(
    mayfly: Mayfly, config: Path, tmp_path: Path
) -> None:
    real = tmp_path / "kept/real.toml"
    real.parent.mkdir()
    config.rename(real)
    config.symlink_to(real)
    if os.getuid() == 0:
        os.chown(real, 1234, 4321)
    like = real.stat()
    assert mayfly("config", "migrate", "--write", "--config", config).code == 0
    assert config.is_symlink()
    assert "[pool.github]" in real.read_text()
    now = real.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (like.st_mode, like.st_uid, like.st_gid)
    assert [file.name for file in real.parent.iterdir()] == ["real.toml"]


def _planted(folder: Path) -> None:
    """What the temporary file was called once."""
    (folder / ".two.new").symlink_to(folder / "victim")


def _directory(folder: Path) -> None:
    (folder / "two").unlink()
    (folder / "two").mkdir()


@pytest.mark.parametrize(("spoil", "works"), [(_planted, True), (_directory, False)])
def test_several_files_are_written_or_none(
    tmp_path: Path, spoil: Callable[[Path], None], works: bool
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("old")
    spoil(tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    texts = {tmp_path / "one": "new", tmp_path / "two": "new"}
    if works:
        replace_files(texts)
        assert (tmp_path / "two").read_text() == "new"
    else:
        with pytest.raises(Trouble, match="two cannot be written: Is a directory; nothing is"):
            replace_files(texts)
    assert (tmp_path / "one").read_text() == ("new" if works else "old")
    assert not (tmp_path / "victim").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == names


def test_a_disk_that_is_full_at_the_second_file_leaves_the_first_as_it_was(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for file in (one, two):
        file.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(Trouble, match="two cannot be written: File too large"):
            replace_files({one: "new", two: "n" * 200})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "one": "old",
        "two": "old",
    }


def test_a_place_that_cannot_be_taken_puts_the_others_back(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "made"
    one.write_text("old")

    class Late(dict[Path, str]):
        """Makes a directory where the second file shall be, when all is prepared."""

        def items(self) -> Iterator[tuple[Path, str]]:  # type: ignore[override]
            yield from super().items()
            two.mkdir()

    with pytest.raises(Trouble, match="made cannot be written"):
        replace_files(Late({one: "new", two: "new"}))
    assert one.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["made", "one"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_text_is_utf_8_whatever_the_locale_and_keeps_its_line_ends(
    mayfly: Mayfly, config: Path, ends: str, bom: bytes
) -> None:
    text = MAIN.replace("# where jobs", "# Größe, where jobs").replace("\n", ends)
    config.write_bytes(bom + text.encode())
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shown = mayfly("config", "migrate", "--config", config, **plain)
    assert (shown.code, "Traceback" in shown.err) == (0, False)
    assert mayfly("config", "migrate", "--write", "--config", config, **plain).code == 0
    data = config.read_bytes()
    assert data.startswith(bom)
    assert "Größe".encode() in data
    assert data.count(b"\n") == data.count(ends.encode()) == text.count("\n") + 2
    assert load(config, environ={}).config.old_keys == ()
