"""Isolation is looked at: once in each run of the engine, not while slots fill, and told until it is so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core import machine
from mayfly.core.actions import Prepare
from mayfly.core.codec import decoded, encoded
from mayfly.core.desire import ImageSeen, Survey, desired
from mayfly.core.gpus import Gpus
from mayfly.core.isolation import AGAIN, CALM, SELDOM, WITHIN, Isolation
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    GATE_PROTOCOL,
    Breach,
    Config,
    Continuity,
    Desired,
    Generation,
    HostId,
    HostSpec,
    Phase,
    PoolName,
    PoolSpec,
    Severity,
    SlotName,
    Traits,
)
from mayfly.core.requests import ProbeIsolation
from mayfly.core.slots import VACANCY, status_of
from mayfly.core.state import begin
from mayfly.core.stimuli import (
    ConfigRead,
    EngineSeen,
    HostSurveyed,
    IsolationProbed,
    Started,
    Stimulus,
    StreamTurned,
)
from tests.core.simulator import judge

T = 1_800_000_000.0
POOL = PoolName("p")
PEERS = Breach("peers", "reach each other", "sudo sysctl -w x=1")
CLOUD = Breach("metadata", "reach the metadata", "sudo iptables …")
SURVEY = Survey(images={"image": ImageSeen("sha256:1", GATE_PROTOCOL)})
TOLD = PoolSpec(POOL, image="image")
REQUIRED = replace(TOLD, isolation="required")


def config(pool: PoolSpec) -> Config:
    return Config(HostSpec("box"), (pool,))


def want(pool: PoolSpec) -> Desired:
    return desired(config(pool), SURVEY, {POOL: Traits(embedded=True)})


def times(pool: PoolSpec, isolation: Isolation, seconds: float, memory: Memory) -> list[float]:
    """When it is probed in the next seconds, each probe finding what was found before."""
    now, found = T, []
    while now <= T + seconds:
        isolation, probes, _ = isolation.scheduled(config(pool), want(pool), SURVEY, memory, now)
        if probes:
            found.append(now - T)
            known = isolation.seen.get(POOL)
            breaches = known.breaches if known is not None else ()
            isolation = isolation.probed(pool, breaches, "", now)
        now += 1.0
    return found


def test_a_pool_is_probed_once_it_is_calm_and_then_seldom() -> None:
    assert times(TOLD, Isolation(), SELDOM * 1.5, Memory()) == [CALM, CALM + SELDOM]


def test_a_pool_that_waits_for_it_is_probed_at_once() -> None:
    assert times(REQUIRED, Isolation(), 60, Memory()) == [0.0]


def test_no_probe_is_made_while_agents_are() -> None:
    born = Agent(Generation("g1"), SlotName("p-0"), POOL, 1, "f", "image", (), T)
    making = Memory({born.generation: born})
    assert times(TOLD, Isolation(), 300, making) == []
    assert times(REQUIRED, Isolation(), 300, making) == [0.0]


@pytest.mark.parametrize("breaches", [(PEERS,), None])
def test_what_is_not_isolated_or_could_not_be_tried_is_probed_again_each_minute(
    breaches: tuple[Breach, ...] | None,
) -> None:
    isolation = Isolation().probed(TOLD, breaches, "" if breaches else "no bash", T)
    expected = [AGAIN, 2 * AGAIN, 3 * AGAIN] if breaches else [AGAIN]
    assert times(TOLD, isolation, 3.5 * AGAIN, Memory())[: len(expected)] == expected


def test_after_a_restart_of_the_engine_all_are_probed_again() -> None:
    isolation = Isolation().probed(TOLD, (), "", T).engine_restarted()
    assert times(TOLD, isolation, 60, Memory()) == [CALM]
    isolation = Isolation().probed(REQUIRED, (), "", T).engine_restarted()
    assert times(REQUIRED, isolation, 60, Memory()) == [0.0]
    assert isolation.holds(config(REQUIRED)) == {}, (
        "what was seen counts until it is seen otherwise"
    )


def test_a_probe_that_is_never_heard_of_again_is_asked_for_once_more() -> None:
    isolation, probes, _ = Isolation().scheduled(
        config(REQUIRED), want(REQUIRED), SURVEY, Memory(), T
    )
    assert len(probes) == 1
    for wait, again in ((WITHIN - 1, 0), (WITHIN + 1, 1)):
        _, probes, _ = isolation.scheduled(
            config(REQUIRED), want(REQUIRED), SURVEY, Memory(), T + wait
        )
        assert len(probes) == again


@pytest.mark.parametrize(
    ("keys", "probed"),
    [
        ({}, True),
        ({"network": "host"}, False),
        ({"network": "none", "isolation": "required"}, False),
        ({"network": "labnet"}, False),
        ({"network": "labnet", "isolation": "required"}, True),
        ({"image": "absent"}, False),
    ],
)
def test_a_pool_is_probed_where_something_is_promised_and_can_be_tried(
    keys: dict[str, str], probed: bool
) -> None:
    pool = replace(TOLD, **keys)  # type: ignore[arg-type]
    assert bool(times(pool, Isolation(), 60, Memory())) is probed


def test_what_agents_can_do_is_a_condition_with_the_line_to_type() -> None:
    isolation = Isolation().probed(TOLD, (PEERS, CLOUD), "", T)
    first, second = isolation.conditions(config(TOLD))
    assert (first.code, first.severity, first.pool) == ("isolation.peers", Severity.ERROR, POOL)
    assert (first.text, first.fix) == ("agents of pool p reach each other", PEERS.fix)
    assert (second.code, second.severity) == ("isolation.metadata", Severity.WARNING)
    assert isolation.holds(config(TOLD)) == {}
    failed = isolation.probed(TOLD, None, "the Engine is away", T + 1)
    assert failed.conditions(config(TOLD)) == [first, second], "unknown is not absent"
    assert isolation.probed(TOLD, (), "", T + 2).conditions(config(TOLD)) == []
    other = replace(TOLD, network="labnet")
    assert isolation.kept(config(other)).conditions(config(other)) == []


class Box:
    """A machine with one pool that wants isolation."""

    def __init__(self) -> None:
        self.now, self.made, self.probes = T, 0, 0
        self.state = begin(HostId("ours00000000"), "run1", config(REQUIRED), Memory(), Gpus(), 0)
        traits = {POOL: Traits(embedded=True)}
        self.tell(Started(host_restarted=False), ConfigRead(config(REQUIRED), traits))
        self.tell(HostSurveyed(SURVEY), EngineSeen(0, ()))

    def tell(self, *stimuli: Stimulus) -> None:
        stimuli = tuple(decoded(encoded(one)) for one in stimuli)
        step = machine.step(self.state, stimuli, self.now, judge)
        self.state = step.state
        asked = (*step.requests, *step.afterwards)
        self.probes += sum(isinstance(request, ProbeIsolation) for request in asked)
        self.made += sum(isinstance(action, Prepare) for action in step.actions)

    @property
    def row(self) -> tuple[Phase, str]:
        (spec,) = self.state.desired.slots
        row = status_of(spec, self.state.desired, self.state.memory, VACANCY, self.now)
        return row.phase, row.note


def test_a_pool_that_requires_it_is_held_until_it_is_seen_and_lets_go_by_itself() -> None:
    box = Box()
    assert (box.probes, box.made) == (1, 0)
    assert box.row == (
        Phase.HELD,
        'pool "p" wants isolation = "required": it has not been seen yet',
    )
    box.tell(IsolationProbed(POOL, None, "the Engine is away"))
    assert box.row[1].endswith("could not be tried: the Engine is away")
    box.now += AGAIN + 1
    box.tell()
    box.tell(IsolationProbed(POOL, (PEERS,)))
    assert box.row[1].endswith(f"its agents reach each other: {PEERS.fix}")
    assert (box.probes, box.made) == (2, 0)
    box.tell(StreamTurned(up=False, continuity=Continuity.UNKNOWN))
    box.tell(StreamTurned(up=True, continuity=Continuity.RESTARTED))
    assert box.probes == 3, "the engine is another: it is looked at at once"
    box.tell(IsolationProbed(POOL, ()))
    assert box.made == 1
