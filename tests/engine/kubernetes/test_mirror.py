"""What is written of an agent's end on this host, whichever way it comes, and in what order."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.core.model import Generation
from mayfly.edge.witness import Witnesses
from mayfly.engines.kubernetes.mirror import Mirror
from mayfly.engines.kubernetes.pods import Account, PodEnd

AGENT = Generation("0m1abcd2efgh4")
ALL = tuple(f"line {number}" for number in range(40))


def ended(*signs: str) -> PodEnd:
    return PodEnd(5, 1.0, Account(opened=True, exit=(5, "0"), signs=signs))


@pytest.mark.parametrize("ways", [(ALL, ALL[-13:]), (ALL[-13:], ALL)], ids=["printed", "status"])
def test_the_longer_account_of_an_agent_counts_whichever_comes_first(
    tmp_path: Path, ways: tuple[tuple[str, ...], ...]
) -> None:
    witnesses, mirror = Witnesses(tmp_path), Mirror()
    witnesses.make(AGENT)
    mirror.begin(witnesses.root)
    for signs in ways:
        mirror.ended(AGENT, ended(*signs))
    found = witnesses.read(AGENT)
    assert found is not None
    assert found.signs == ALL
    assert found.exit is not None
    assert found.exit.code == 5
