"""What the gateway tells of its host is told as long as it is so, and for a while where nobody says more."""

from __future__ import annotations

from mayfly.engines.docker.gateway.host_conditions import MOST, RECENT, HostConditions


def codes(conditions: HostConditions) -> list[str | None]:
    return [one["text"] for one in conditions.document()]


def test_a_condition_is_told_until_it_is_mended_old_or_nobody_s() -> None:
    now = [100.0]
    conditions = HostConditions(lambda: now[0])
    conditions.tell("a.b", "x", "one", "# do")
    conditions.tell("a.b", "y", "two", "# do", pool="gpu", lasts=None)
    conditions.tell("c.d", "", "three", "# do", lasts=None)
    assert codes(conditions) == ["one", "two", "three"]
    now[0] += RECENT
    conditions.tell("a.b", "y", "two again", "# do", lasts=None)
    assert codes(conditions) == ["two again", "three"]
    conditions.only("a.b", {"x"})
    assert codes(conditions) == ["three"]
    conditions.mended("c.d", "")
    conditions.mended("c.d", "")
    assert codes(conditions) == []


def test_no_more_are_kept_than_somebody_reads() -> None:
    conditions = HostConditions()
    for number in range(MOST + 3):
        conditions.tell("a.b", f"{number:03}", str(number), "# do")
    conditions.tell("a.b", "000", "anew", "# do")
    assert codes(conditions)[0] == "anew"
    assert len(codes(conditions)) == MOST
