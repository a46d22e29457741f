"""What this installation built, on disk: by the image's id, bounded, and believed only where it is root's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mayfly.core.image_build import ImageBuild
from mayfly.edge import build_records
from mayfly.edge.build_records import KEPT, NAME
from mayfly.edge.faults import Refused


def image(number: int) -> str:
    return f"sha256:{number:064x}"


PLAN = ImageBuild(
    *("12.8", "github", "base", "ubuntu22.04", "lab/base:1", 1234),
    arguments={"PACKAGES": "git jq"},
    tag="lab/agent:1",
)


def test_what_was_built_is_read_again(tmp_path: Path) -> None:
    assert build_records.read(tmp_path / "none") == {}
    build_records.note(tmp_path / "state", image(1), PLAN)
    assert build_records.read(tmp_path / "state") == {image(1): PLAN}
    assert (tmp_path / "state" / NAME).stat().st_mode & 0o777 == 0o600


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    rows = [{"image": image(at), "plan": json.loads(PLAN.label())} for at in range(KEPT)]
    (tmp_path / NAME).write_text(json.dumps({"schema": 1, "builds": rows}))
    build_records.note(tmp_path, image(0), PLAN)  # built once more
    build_records.note(tmp_path, image(KEPT), PLAN)
    found = build_records.read(tmp_path)
    assert len(found) == KEPT
    assert image(1) not in found
    assert list(found)[-2:] == [image(0), image(KEPT)]


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_record_that_others_may_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    build_records.note(tmp_path, image(1), PLAN)
    (tmp_path / NAME).chmod(mode)
    with pytest.raises(Refused, match="may be written by others, so nothing is built by it"):
        build_records.read(tmp_path)


def row(**said: object) -> str:
    plan = {"name": "cpu", "provider": "github", "tag": "lab/agent:1", **said}
    return json.dumps({"schema": 1, "builds": [{"image": image(1), "plan": plan}]})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 5000,
        '{"schema": 2, "builds": []}',
        '{"schema": 1, "builds": [{"image": "x", "plan": {}}]}',
        row(base="a\0b"),
        row(base="-v"),
        row(tag="a b"),
        row(uid=0),
        row(flavour="base;id"),
        row(arguments={"BUILDKIT_SYNTAX": "lab/frontend"}),
        row(arguments={"PACKAGES": "git\n"}),
        row().replace(image(1), "sha256:1"),
    ],
)
def test_a_damaged_record_is_told_and_not_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(Refused, match="is damaged"):
        build_records.note(tmp_path, image(2), PLAN)
    assert (tmp_path / NAME).read_text() == text


@pytest.mark.parametrize(
    ("number", "plan"),
    [
        ("latest", PLAN),
        (image(1), ImageBuild("cpu", "github", arguments={"PACKAGES": "x" * 9000}, tag="a")),
        (image(1), ImageBuild("cpu", "github", base="a\0b", tag="a")),
    ],
)
def test_what_could_not_be_read_again_is_not_kept(
    tmp_path: Path, number: str, plan: ImageBuild
) -> None:
    with pytest.raises(Refused, match="is not remembered"):
        build_records.note(tmp_path, number, plan)
    assert build_records.read(tmp_path) == {}
