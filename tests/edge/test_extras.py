"""What to type for packages that only some hosts need: theirs by name, and Mayfly itself never."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mayfly.edge import extras

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_what_to_install_with_is_what_installed_mayfly(tmp_path: Path) -> None:
    line = extras.install_line(str(tmp_path), "/opt/m/bin/python", "cryptography>=44")
    assert line == "sudo /opt/m/bin/python -m pip install 'cryptography>=44'"
    (tmp_path / "uv-receipt.toml").touch()
    line = extras.install_line(str(tmp_path), "/opt/m/bin/python", "cryptography>=44")
    assert line == "sudo uv pip install --python /opt/m/bin/python 'cryptography>=44'"


@pytest.mark.parametrize("extra", ["app", "kubernetes", "pipeline"])
def test_an_extra_is_asked_for_by_the_packages_in_it(extra: str) -> None:
    def names(lines: object) -> list[str]:
        assert isinstance(lines, (list, tuple))
        return sorted(line.split("<")[0].split(">")[0] for line in lines)

    assert names(extras.wanted(extra)) == names(EXTRAS[extra])
    line = extras.extra_line(extra)
    assert "mayfly-ci" not in line
    assert all(name in line for name in names(EXTRAS[extra]))


def test_an_extra_that_is_none_names_nothing_and_gives_no_half_of_a_line() -> None:
    assert extras.wanted("aap") == ()
    assert extras.extra_line("aap") == "mayfly help where"
