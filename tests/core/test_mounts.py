"""Agents made ahead do not keep the world of when they were made: what they mount is looked at again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core import machine
from mayfly.core.actions import Action, Open, Prepare, action_name
from mayfly.core.codec import decoded, encoded
from mayfly.core.desire import ImageSeen, Survey, desired
from mayfly.core.facts import AgentDoomed, JobSubmitted
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Job, Memory
from mayfly.core.model import (
    GATE_PROTOCOL,
    Cache,
    Config,
    Container,
    ContainerId,
    ContainerState,
    Dataset,
    Desired,
    DoomReason,
    HostId,
    HostSpec,
    JobId,
    Phase,
    PoolName,
    PoolSecurity,
    PoolSpec,
    SlotName,
    StopStep,
    Traits,
    Witness,
)
from mayfly.core.mounts import FRESH, Source
from mayfly.core.polls import QUIET, TICK
from mayfly.core.requests import LookAtMounts
from mayfly.core.slots import VACANCY, status_of
from mayfly.core.state import begin
from mayfly.core.stimuli import (
    ActionDone,
    Commanded,
    ConfigRead,
    EngineSeen,
    HostSurveyed,
    MountsSeen,
    Started,
    Stimulus,
    WitnessesRead,
)
from tests.core.simulator import judge

T = 1_800_000_000.0
HOST = HostId("ours00000000")
POOL, SLOT = PoolName("p"), SlotName("p-0")
THERE = Source("1:1", directory=True)
OTHER = Source("1:2", directory=True)
FILE = Source("1:9", certificates=True)
GONE, HANGS = Source(""), Source(None)
POOLS = {
    "dataset": PoolSpec(POOL, image="image", datasets=(Dataset("/d", "/data"),)),
    "cache": PoolSpec(POOL, image="image", caches=(Cache("/d", "/data"),)),
    "ca": PoolSpec(POOL, image="image", ca="/d"),
}
SEEN = {
    "dataset": (THERE, OTHER),
    "cache": (THERE, OTHER),
    "ca": (FILE, replace(FILE, identity="2")),
}
EMBEDDED = Traits(embedded=True, stop_ladder=(StopStep("TERM", 10.0),))
SERVICE = Traits(stop_ladder=(StopStep("TERM", 10.0),))


def survey(seen: Source) -> Survey:
    return Survey(images={"image": ImageSeen("sha256:1", GATE_PROTOCOL)}, sources={"/d": seen})


def want(pool: PoolSpec, seen: Source) -> Desired:
    return desired(Config(HostSpec("box"), (pool,)), survey(seen), {POOL: EMBEDDED})


@pytest.mark.parametrize("kind", POOLS)
def test_what_stands_at_a_path_is_part_of_the_fingerprint(kind: str) -> None:
    first, second = SEEN[kind]
    marks = [want(POOLS[kind], seen).slots[0].fingerprint for seen in (first, second, first)]
    assert marks[0] == marks[2] != marks[1]


@pytest.mark.parametrize(
    ("kind", "seen", "says", "known"),
    [
        (
            "dataset",
            GONE,
            "is not a directory on this host: mount it there, or make it with `sudo",
            True,
        ),
        ("dataset", FILE, "is not a directory on this host: a directory has to be there", True),
        ("cache", Source("1:1", error="Permission denied"), "cannot be read (Permission", True),
        ("dataset", HANGS, "does not answer", False),
        ("ca", GONE, "is not a file on this host: put it there", True),
        ("ca", THERE, "is not a file on this host", True),
        ("ca", Source("1:1"), "holds no certificate", True),
        ("ca", HANGS, "does not answer", False),
    ],
)
def test_what_is_wrong_with_a_path_holds_the_slot_with_its_sentence(
    kind: str, seen: Source, says: str, known: bool
) -> None:
    found = want(POOLS[kind], seen)
    assert says in found.obstacles[SLOT]
    assert (
        SLOT in found.undetermined
    ) is not known  # unknown is not absent: nobody is ended for it
    row = status_of(found.slots[0], found, Memory(), VACANCY, T)
    assert (row.phase, row.note) == (Phase.HELD, found.obstacles[SLOT])


@pytest.mark.parametrize(
    ("real", "says"),
    [
        ("/disk/nc/sub", 'lies in the cache /disk/nc of pool "a", whose jobs can put anything'),
        ("/disk/nc", None),  # shared, which is said by name
        ("/disk/ncs", None),
        ("/", "'/' is never mounted"),
        ("/etc", "'/etc' is never mounted"),
        ("/var/lib/docker/volumes", "/var/lib/docker is the host's own"),
        ("/usr/lib/cron", "is never a cache"),
    ],
)
def test_where_a_link_leads_is_held_to_the_same_as_a_path(real: str, says: str | None) -> None:
    """A job that may write above another pool's source puts a link there (it had the whole host so)."""
    other = PoolSpec(PoolName("a"), image="image", caches=(Cache("/nc", "/c"),))
    seen = replace(survey(GONE), sources={
        "/d": replace(THERE, real=real), "/nc": replace(OTHER, real="/disk/nc"),
    })  # fmt: skip
    config = Config(HostSpec("box"), (other, POOLS["cache"]))
    found = desired(config, seen, {POOL: EMBEDDED, other.name: EMBEDDED}).obstacles.get(SLOT)
    assert (says is None and found is None) or (says and found and says in found)


@pytest.mark.parametrize(
    "pool",
    [
        PoolSpec(POOL, image="image", ca="/d"),
        PoolSpec(POOL, image="image", security=PoolSecurity(seccomp="/d")),
    ],
)
def test_no_file_that_an_agent_is_made_by_is_a_job_s_to_change(pool: PoolSpec) -> None:
    other = PoolSpec(PoolName("a"), image="image", caches=(Cache("/nc", "/c"),))
    sources = {"/d": replace(FILE, real="/disk/nc/file"), "/nc": replace(OTHER, real="/disk/nc")}
    seen = replace(survey(GONE), sources=sources)
    config = Config(HostSpec("box"), (other, pool))
    found = desired(config, seen, {POOL: EMBEDDED, other.name: EMBEDDED}).obstacles
    assert found.keys() == {SLOT}
    assert "lies in the cache /disk/nc of pool" in found[SLOT]


def test_a_cache_that_leads_to_the_whole_host_holds_its_own_pool_alone() -> None:
    other = PoolSpec(PoolName("a"), image="image", caches=(Cache("/nc", "/c"),))
    seen = survey(replace(THERE, real="/"))
    seen = replace(seen, sources={**seen.sources, "/nc": replace(OTHER, real="/disk/nc")})
    config = Config(HostSpec("box"), (other, POOLS["cache"]))
    found = desired(config, seen, {POOL: EMBEDDED, other.name: EMBEDDED})
    assert found.obstacles.keys() == {SLOT}


class Box:
    """A machine with one slot whose agent stands at its gate."""

    def __init__(self, pool: PoolSpec, trait: Traits, seen: Source) -> None:
        self.now = T
        self.actions: list[Action] = []
        self.looks = 0
        config = Config(HostSpec("box"), (pool,))
        self.state = begin(HOST, "run1", config, Memory(), Gpus(), 0)
        self.tell(Started(host_restarted=False), ConfigRead(config, {POOL: trait}))
        self.tell(HostSurveyed(survey(seen)), EngineSeen(0, ()))
        (prepare,) = self.actions
        assert isinstance(prepare, Prepare)
        self.witness = Witness(ready=T)
        self.tell(ActionDone(prepare, container=ContainerId("c1")))
        self.tell(self.containers())
        self.now += 60

    def containers(self) -> EngineSeen:
        found = [
            Container(
                ContainerId("c1"),
                str(SLOT),
                ContainerState.RUNNING,
                HOST,
                POOL,
                SLOT,
                agent.generation,
                agent.fingerprint,
                "sha256:1",
                T,
            )
            for agent in self.state.memory.agents.values()
            if agent.container == "c1"
        ]
        return EngineSeen(self.state.results, tuple(found))

    def tell(self, *stimuli: Stimulus) -> None:
        """Step over these; what it asks for is remembered, and witnesses are read."""
        stimuli = tuple(decoded(encoded(one)) for one in stimuli)  # as a bug report has them
        step = machine.step(self.state, stimuli, self.now, judge)
        while step.witnesses:
            read = WitnessesRead(dict.fromkeys(step.witnesses, self.witness))
            self._took(step)
            step = machine.step(step.state, (read,), self.now, judge)
        self._took(step)

    def _took(self, step: machine.Step) -> None:
        self.state = step.state
        self.actions += step.actions
        self.looks += sum(isinstance(request, LookAtMounts) for request in step.requests)

    def submit(self) -> None:
        job = Job(JobId("j1"), POOL, 1, self.now)
        self.tell(Commanded((JobSubmitted(self.now, job),)))

    @property
    def dooms(self) -> list[DoomReason]:
        return [agent.doom.reason for agent in self.state.memory.agents.values() if agent.doom]

    @property
    def names(self) -> list[str]:
        return [action_name(action) for action in self.actions]


@pytest.mark.parametrize("kind", POOLS)
def test_a_gate_opens_only_after_a_look_and_not_onto_another_directory(kind: str) -> None:
    first, second = SEEN[kind]
    for seen, opens in ((first, True), (second, False), (HANGS, False), (GONE, False)):
        box = Box(POOLS[kind], EMBEDDED, first)
        before = box.looks
        box.submit()
        assert not any(isinstance(action, Open) for action in box.actions)
        assert box.looks > before, "it is looked at first"
        box.tell(MountsSeen({"/d": seen}))
        assert any(isinstance(action, Open) for action in box.actions) is opens
        assert bool(box.dooms) is (seen in (second, GONE))
        if seen is second:
            assert box.dooms == [DoomReason.STALE]


def test_a_look_of_just_now_is_good_enough_for_the_next_gate() -> None:
    box = Box(POOLS["dataset"], EMBEDDED, THERE)
    box.tell(MountsSeen({"/d": THERE}))
    box.now += FRESH / 2
    looks = box.looks
    box.submit()
    assert any(isinstance(action, Open) for action in box.actions)
    assert box.looks == looks


@pytest.mark.parametrize("kind", POOLS)
def test_no_agent_is_enrolled_at_a_service_that_would_see_another_directory(kind: str) -> None:
    first, second = SEEN[kind]
    box = Box(POOLS[kind], SERVICE, first)
    box.actions = [action for action in box.actions if action_name(action) != "enrol"]
    assert "enrol" not in box.names
    box.tell(MountsSeen({"/d": second}))
    assert "enrol" not in box.names
    assert box.dooms == [DoomReason.STALE]


def test_what_is_mounted_is_looked_at_whenever_the_engine_is_and_nothing_where_nothing_is() -> None:
    box = Box(POOLS["dataset"], EMBEDDED, THERE)
    box.looks = 0
    for _ in range(10):
        box.now += TICK * QUIET + 0.1
        box.tell(box.containers())
        box.tell(MountsSeen({"/d": THERE}))
    assert 8 <= box.looks <= 12
    plain = Box(PoolSpec(POOL, image="image"), EMBEDDED, THERE)
    plain.submit()
    assert any(isinstance(action, Open) for action in plain.actions)


def test_a_directory_that_comes_back_finds_its_agent() -> None:
    box = Box(POOLS["dataset"], EMBEDDED, THERE)
    agent = next(iter(box.state.memory.agents))
    for seen in (HANGS, THERE):
        box.tell(MountsSeen({"/d": seen}))
    box.submit()
    box.tell(MountsSeen({"/d": THERE}))
    assert box.state.memory.agents[agent].committed is not None
    assert not [fact for fact in box.state.pending if isinstance(fact, AgentDoomed)]
