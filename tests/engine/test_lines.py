"""What a person types at Docker names the Engine that is meant, where that is not the usual one."""

from __future__ import annotations

import pytest

from mayfly.engines.docker.lines import LINES, lines_at


@pytest.mark.parametrize("address", ["unix:///var/run/docker.sock", "unix:///run/docker.sock"])
def test_the_usual_engine_is_not_named(address: str) -> None:
    assert lines_at(address) is LINES


def test_another_engine_is_named_in_every_line_that_asks_one() -> None:
    lines = lines_at("unix:///run/user/my docker.sock")
    named = "sudo docker -H 'unix:///run/user/my docker.sock' "
    assert lines.on(lines.inspect, "gpu-0") == f"{named}inspect gpu-0"
    assert lines.room == f"df -h {{name}}; {named}system df"
    assert lines.clear.startswith(f"{named}ps -aq ")
    assert lines.clear.endswith(f"xargs -r {named}rm -fv")
    assert lines.between == LINES.between
