"""Devices that are given to nobody: a condition for each pool, with what takes the taint away."""

from __future__ import annotations

from mayfly.core.model import EngineLines, HostId, PoolName, SlotName
from mayfly.core.tainted_devices import TaintedDevice, tainted_conditions

OURS = HostId("ours")
LINES = EngineLines(untaint="untaint {name}   # once it is well")


def device(number: int, pool: str, slot: int, host: HostId = OURS) -> TaintedDevice:
    name = SlotName(f"{pool}-{slot}")
    return TaintedDevice(f"d/n/{number}", f"rule-{number}", host, PoolName(pool), name)


def test_one_device_of_a_slot_is_told_with_the_line_that_takes_its_taint_away() -> None:
    (one,) = tainted_conditions([device(0, "a", 1)], OURS, LINES)
    assert one.text == (
        "device d/n/0 did not answer an agent of slot a-1, and is given to nobody until you have looked"
    )
    assert one.fix == "untaint rule-0   # once it is well"
    assert (one.code, one.pool, one.slots) == ("gpu.tainted", "a", ("a-1",))


def test_those_of_a_pool_are_told_as_one_and_those_of_another_host_are_its_own() -> None:
    found = [device(0, "a", 0), device(1, "a", 1), device(2, "b", 0)]
    found += [device(3, "a", 0, HostId("another"))]
    of_a, of_b = tainted_conditions(found, OURS, LINES)
    assert of_a.text == (
        "device d/n/0 and 1 more did not answer agents of pool a, and are given to nobody until you have "
        "looked"
    )
    assert of_a.fix == "untaint rule-0 rule-1   # once it is well"
    assert of_a.slots == ("a-0", "a-1")
    assert of_b.slots == ("b-0",)


def test_where_nothing_is_tainted_nothing_is_told() -> None:
    assert tainted_conditions([], OURS, LINES) == []
