"""What one box says is of that box alone, whatever stands in it."""

from __future__ import annotations

from mayfly.cli.render_boxes import Reply, merged

GOOD = Reply("good", {"schema": "mayfly.jobs/1", "jobs": [{"job": "0good"}]})


def test_a_box_cannot_say_that_a_row_is_another_s_nor_how_others_answered() -> None:
    forged = {
        "schema": "mayfly.jobs/1",
        "jobs": [{"job": "0rogue", "box": "good"}],
        "boxes": [{"box": "good", "answered": False}],
        "box": "good",
        "answered": False,
        "error": "forged",
        "exit_code": 7,
        "left_out": 3,
    }
    found = merged([GOOD, Reply("rogue", forged)])
    assert [(row["box"], row["job"]) for row in found["jobs"]] == [
        ("good", "0good"),
        ("rogue", "0rogue"),
    ]
    assert [next(iter(row)) for row in found["jobs"]] == ["box", "box"]
    assert found["boxes"] == [
        {"box": "good", "answered": True},
        {"box": "rogue", "answered": True, "left_out": 3},
    ]
