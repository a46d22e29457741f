"""Files are written whole or not at all, whoever interrupts, and a secret is its owner's alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.trouble import Trouble
from mayfly.cli.whole_file import replace_files


def test_a_secret_comes_into_a_directory_of_its_owners_and_other_files_do_not(
    tmp_path: Path,
) -> None:
    secret, plain = tmp_path / "credentials" / "token", tmp_path / "conf.d" / "gh.toml"
    replace_files({secret: "s\n", plain: "p\n"}, {secret: 0o600})
    assert (secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert plain.stat().st_mode & 0o777 == 0o644
    secret.chmod(0o644)
    replace_files({secret: "t\n"}, {secret: 0o600})
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("t\n", 0o600)


def test_one_that_cannot_be_put_in_its_place_takes_those_before_it_back(tmp_path: Path) -> None:
    first, new, wall = tmp_path / "a", tmp_path / "b", tmp_path / "wall"
    first.write_text("before")
    wall.mkdir()
    with pytest.raises(Trouble, match="cannot be written"):
        replace_files({first: "after", new: "new", wall: "no"})
    assert first.read_text() == "before"
    assert {file.name for file in tmp_path.iterdir()} == {"a", "wall"}


class Interrupted(dict[Path, str]):
    """Somebody presses ^C once the first file is prepared."""

    def items(self) -> Any:
        yield next(iter(super().items()))
        raise KeyboardInterrupt


def test_an_interruption_leaves_what_was_there_and_nothing_more(tmp_path: Path) -> None:
    first = tmp_path / "a"
    first.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        replace_files(Interrupted({first: "after", tmp_path / "b": "new"}))
    assert first.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
