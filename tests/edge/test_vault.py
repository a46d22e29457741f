"""What a service gave once is kept whole, for root alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mayfly.edge.faults import Passing, Refused
from mayfly.edge.vault import Vault


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_put_is_there_for_the_next_process_too(tmp_path: Path) -> None:
    Vault(tmp_path / "v").put("gpu-0", {"id": 7, "token": "secret"})
    assert Vault(tmp_path / "v").get("gpu-0") == {"id": 7, "token": "secret"}
    assert Vault(tmp_path / "v").names() == ("gpu-0",)


def test_only_its_owner_can_read_it_whatever_the_umask_is(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "v")
    vault.put("gpu-0", {"token": "one"})
    vault.put("gpu-0", {"token": "two"})
    assert mode(tmp_path / "v") == 0o700
    assert mode(tmp_path / "v/gpu-0.json") == 0o600
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["gpu-0.json"]


def test_a_value_that_was_being_written_when_the_machine_went_down_is_the_old_one(
    tmp_path: Path,
) -> None:
    vault = Vault(tmp_path)
    vault.put("gpu-0", {"id": 1})
    (tmp_path / "gpu-0.new").write_text('{"id": 2')
    assert vault.get("gpu-0") == {"id": 1}
    vault.put("gpu-0", {"id": 3})
    assert vault.get("gpu-0") == {"id": 3}


def test_what_is_dropped_is_gone_and_dropping_it_again_is_fine(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.put("gpu-0", {})
    vault.drop("gpu-0")
    vault.drop("gpu-0")
    assert vault.get("gpu-0") is None
    assert vault.names() == ()


@pytest.mark.parametrize("text", ["", "{", "[1]", "7"])
def test_a_file_that_holds_something_else_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "gpu-0.json").write_text(text)
    with pytest.raises(Refused, match=r"gpu-0\.json"):
        Vault(tmp_path).get("gpu-0")


def test_a_disk_that_does_not_take_it_is_a_passing_thing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Passing, match="cannot keep"):
        Vault(tmp_path / "file").put("gpu-0", {})
