"""What every engine must keep, told once; each runs it against itself.

    class TestSimulated(EngineContract):
        @pytest.fixture
        def engine(self):
            return SimulatedEngine(images=(IMAGE,))

The tests know the protocol alone: what an engine cannot do its capabilities say, and it is not asked for it.
"""

from __future__ import annotations

import io
import secrets
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from mayfly.core.actions import MakeSandbox, Prepare
from mayfly.core.admission.grant import read_grant
from mayfly.core.agent_plan import AgentPlan, Network, agent_plan
from mayfly.core.container_labels import NOBODYS, OURS
from mayfly.core.memory import Memory
from mayfly.core.model import (
    GATE_PROTOCOL,
    Container,
    ContainerId,
    ContainerState,
    Dataset,
    Generation,
    HostId,
    Limits,
    PoolName,
    PoolSpec,
    Removal,
    SlotName,
    SlotSpec,
    Witness,
)
from mayfly.core.sandbox import sandbox_plan
from mayfly.core.seal import is_ours, looked_at
from mayfly.core.tree_manifest import TreeEntry
from mayfly.core.workspace import Brought, Owner, begun_there
from mayfly.edge.doors import Doors
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.gate import frame, words
from mayfly.edge.tree_archive import END, TreeArchive
from mayfly.edge.witness import Witnesses
from mayfly.engines.protocol import (
    Belonging,
    Engine,
    EngineEvent,
    Execution,
    Gone,
    NameTaken,
    OutputListener,
    StreamTurn,
)
from tests.waiting import Until

IMAGE = "mayfly/local:cpu"
# What an image says that wants its containers to be taken for another's holder.
CLAIMS = dict.fromkeys(OURS, "holder")
TRUE = {"job.argv": words(["true"]), "job.env": words([])}
PROGRAM = b'#!/bin/sh\nread -r code; [ -O "$0" ] && [ "$PWD" = /workspace ] && exit "$code"\n'
FOREVER = {"job.argv": words(["sleep", "600"]), "job.env": words([])}


class World:
    """One engine, and agents on it that carry a host id of the test's own."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.engine = engine
        self.host = HostId(f"test{secrets.token_hex(4)}")
        self.witnesses = Witnesses(home)
        engine.witnesses(self.witnesses.root)
        # As in a manager: an engine elsewhere learns by it how agents end.
        self._follower = engine.watch(lambda _: None, lambda _: None)
        self._count = 0

    def plan(self, *, removal: Removal = Removal.MANAGER, name: str | None = None) -> AgentPlan:
        """An agent of a slot of its own."""
        self._count += 1
        generation = Generation(f"{self.host[-8:]}{self._count:05}")
        spec = SlotSpec(
            name=SlotName(f"{self.host}-{self._count}"),
            index=self._count,
            pool=PoolSpec(PoolName("contract"), network="none"),
            image=IMAGE,
            fingerprint="f",
            removal=removal,
        )
        action = Prepare(generation, spec, name or str(spec.name), "a test wants it")
        witness = str(self.witnesses.make(generation))
        return agent_plan(action, host=self.host, witness=witness, log_max_size=1 << 20)

    def with_door(self, home: Path) -> AgentPlan:
        """An agent that may have containers of its own."""
        self._count += 1
        generation = Generation(f"{self.host[-8:]}{self._count:05}")
        pool = PoolSpec(
            PoolName("contract"),
            network="none",
            containers=True,
            allowed_images=("postgres:*",),
            limits=Limits(memory=256 * 1024**2, cpus=1.5, pids=100),
            datasets=(Dataset(str(home), "/datasets/x"),),
        )
        spec = SlotSpec(
            name=SlotName(f"{self.host}-{self._count}"),
            index=self._count,
            pool=pool,
            image=self.engine_image(),
            fingerprint="f",
            removal=Removal.MANAGER,
            work="/workspace",
            shared=("/usr/share/doc",),
        )
        action = Prepare(generation, spec, str(spec.name), "a test wants it")
        return agent_plan(
            action,
            host=self.host,
            witness=str(self.witnesses.make(generation)),
            log_max_size=1 << 20,
            door=str(Doors(home).make(generation)),
        )

    def engine_image(self) -> str:
        """The agent image by id, as a slot has it."""
        found = self.engine.image(IMAGE)
        assert found is not None
        return found.id

    def sandboxed(self) -> SlotSpec:
        """A slot that keeps its network."""
        self._count += 1
        return SlotSpec(
            name=SlotName(f"{self.host}-{self._count}"),
            index=self._count,
            pool=PoolSpec(PoolName("contract"), sandbox="slot"),
            image=IMAGE,
            fingerprint="f",
            removal=Removal.MANAGER,
        )

    def holder(self, spec: SlotSpec) -> ContainerId:
        """What holds that slot's network."""
        self._count += 1
        made = MakeSandbox(Generation(f"{self.host[-8:]}{self._count:05}"), spec, "a test wants it")
        return self.engine.make_sandbox(sandbox_plan(made, host=self.host))

    def joining(self, spec: SlotSpec, holder: ContainerId | None) -> AgentPlan:
        """An agent of that slot, in that network, or (``None``) in its pool's."""
        self._count += 1
        generation = Generation(f"{self.host[-8:]}{self._count:05}")
        action = Prepare(generation, spec, str(spec.name), "a test wants it", holder)
        witness = str(self.witnesses.make(generation))
        return agent_plan(action, host=self.host, witness=witness, log_max_size=1 << 20)

    def started(self, plan: AgentPlan, until: Until) -> ContainerId:
        """An agent that stands at its gate."""
        container = self.engine.prepare(plan)
        until(lambda: self.witness(plan).ready is not None, 30)
        return container

    def witness(self, plan: AgentPlan) -> Witness:
        """What its launcher has recorded."""
        return self.witnesses.read(plan.generation) or Witness()

    def seen(self, container: ContainerId) -> Container | None:
        """The container as a list shows it."""
        return next((one for one in self.engine.list() if one.id == container), None)

    def close(self) -> None:
        """Leave nothing behind, as far as this engine lets anybody."""
        try:
            with suppress(Fault):
                for one in self.engine.list():
                    if one.host == self.host:
                        with suppress(Fault):
                            self.engine.remove(one.id)
            with suppress(Fault):
                self.engine.sweep(lambda of, _: of == self.host)
        finally:
            self._follower.stop()
            self.engine.close()


class EngineContract:
    """The tests; a subclass gives ``engine`` and ``claiming``."""

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine under test."""
        raise NotImplementedError

    @pytest.fixture
    def claiming(self, engine: Engine) -> str:
        """An agent image that has each label of ours, as if it were a holder (see ``CLAIMS``)."""
        raise NotImplementedError

    @pytest.fixture
    def world(self, engine: Engine, tmp_path: Path) -> Iterator[World]:
        """Agents on it."""
        made = World(engine, tmp_path)
        yield made
        made.close()

    def test_it_says_what_it_is_and_can_do(self, engine: Engine) -> None:
        facts = engine.facts()
        assert facts.name
        assert facts.version
        assert facts.capabilities.outlives_restart is (facts.restart is None)
        assert not (facts.capabilities.removes_itself and facts.self_removal)
        engine.ping()

    def test_an_image_that_is_there_says_its_gate_and_another_is_none(self, engine: Engine) -> None:
        found = engine.image(IMAGE)
        assert found is not None
        if not found.seen:
            pytest.skip("its images are elsewhere, and it says so")
        assert found.labels["io.mayfly.gate"] == GATE_PROTOCOL
        assert engine.image("mayfly/no-such-image:ever") is None
        assert IMAGE in engine.image_names()

    def test_a_prepared_agent_stands_at_its_gate_and_is_listed_as_planned(
        self, world: World, until: Until
    ) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        seen = world.seen(container)
        assert seen is not None
        assert (seen.host, seen.pool, seen.slot) == (plan.host, plan.pool, plan.slot)
        name = plan.name if world.engine.facts().capabilities.renames else plan.spare_name
        assert (seen.generation, seen.fingerprint, seen.name) == (plan.generation, "f", name)
        assert seen.live
        assert world.engine.at_gate(container)
        assert world.witness(plan).opened is None

    def test_an_open_gate_runs_the_job_and_the_witness_has_its_end(
        self, world: World, until: Until
    ) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        world.engine.open(plan.generation, container, frame(plan.generation, TRUE))
        until(lambda: world.witness(plan).exit is not None, 30)
        end = world.witness(plan).exit
        assert end is not None
        assert end.code == 0
        until(lambda: (seen := world.seen(container)) is None or not seen.live, 30)

    def test_a_tree_is_there_before_the_gate_opens(self, world: World, until: Until) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        archive = TreeArchive(Owner(1000, 1000), time.time())
        entry = TreeEntry("a\udcff/b", "file", 0o755, len(PROGRAM), "0" * 64)
        tar = archive.workspace([entry], lambda _: [PROGRAM])
        world.engine.put_tree(container, chain(tar, archive.stdin([b"0"], 1), [END]))
        argv = begun_there(("./a\udcff/b",), Brought(1000, "0" * 64, "0" * 64))
        job = {"job.argv": words(argv), "job.env": words([])}
        world.engine.open(plan.generation, container, frame(plan.generation, job))
        until(lambda: world.witness(plan).exit is not None, 30)
        end = world.witness(plan).exit
        assert end is not None
        assert end.code == 0

    def test_a_tree_that_comes_slowly_or_breaks_off_is_a_fault(
        self, world: World, until: Until
    ) -> None:
        plan = world.plan()
        container = world.started(plan, until)

        def broken() -> Iterator[bytes]:
            yield b"\0" * 100
            raise Refused("it is damaged")

        with pytest.raises(Refused, match="it is damaged"):
            world.engine.put_tree(container, broken())
        with pytest.raises(Fault):
            world.engine.put_tree(container, [b"no tar at all" * 1000])
        with pytest.raises(Fault):
            world.engine.put_tree(ContainerId("0" * 64), [END])

    def test_what_a_job_has_made_is_there_once_it_has_ended(
        self, world: World, until: Until
    ) -> None:
        if not world.engine.facts().capabilities.keeps_files:
            pytest.skip("what is in an ended container cannot be had, and it says so")
        plan = world.plan()
        container = world.started(plan, until)
        archive = TreeArchive(Owner(1000, 1000), time.time())
        entry = TreeEntry("results/r", "file", 0o644, 4, "0" * 64)
        world.engine.put_tree(
            container, chain(archive.workspace([entry], lambda _: [b"data"]), [END])
        )
        with pytest.raises(Passing), world.engine.take_tree(container, "/workspace/results"):
            pass  # it runs
        argv = begun_there(("true",), Brought(1000, "0" * 64, None))
        job = {"job.argv": words(argv), "job.env": words([])}
        world.engine.open(plan.generation, container, frame(plan.generation, job))
        until(lambda: (seen := world.seen(container)) is None or not seen.live, 30)
        with world.engine.take_tree(container, "/workspace/results") as taken:
            data = b"".join(taken.pieces)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            (file,) = [one for one in tar if one.isfile()]
            assert (file.name, file.uid) == ("results/r", 1000)
        for path in ("/workspace/none", "/workspace/results/r/x"):
            with pytest.raises(Refused), world.engine.take_tree(container, path):
                pass
        with pytest.raises(Gone), world.engine.take_tree(ContainerId("0" * 64), "/workspace"):
            pass

    def test_a_container_that_has_ended_is_started_once_more_and_takes_no_job(
        self, world: World, until: Until
    ) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        world.engine.open(plan.generation, container, frame(plan.generation, TRUE))
        until(lambda: (seen := world.seen(container)) is None or not seen.live, 30)
        if not world.engine.facts().capabilities.starts_again:
            with pytest.raises(Refused):
                world.engine.start_again(container)
            return
        world.witnesses.hold(plan.generation, 60.0)
        for _ in range(2):  # one that runs is a success
            world.engine.start_again(container)
        seen = world.seen(container)
        assert seen is not None
        assert (seen.live, seen.generation) == (True, plan.generation)
        assert world.engine.exec_probe(container, ("/bin/true",), 30)[0] == 0
        with pytest.raises(Gone):
            world.engine.start_again(ContainerId("0" * 64))

    def test_a_gate_takes_no_frame_of_another_generation(self, world: World, until: Until) -> None:
        plan, other = world.plan(), world.plan()
        container = world.started(plan, until)
        with suppress(Passing):  # where an agent says that its gate is open, this one does not
            world.engine.open(plan.generation, container, frame(other.generation, TRUE))
        until(lambda: (seen := world.seen(container)) is None or not seen.live, 30)
        assert world.witness(plan).opened is None

    def test_a_gate_that_was_let_go_stays_shut_and_can_still_be_opened(
        self, world: World, until: Until
    ) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        world.engine.let_go(plan.generation)
        seen = world.seen(container)
        assert seen is not None
        assert seen.live
        world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
        until(lambda: world.witness(plan).opened is not None, 30)
        until(lambda: not world.engine.at_gate(container), 30)

    def test_a_network_goes_with_its_pool_and_not_before_its_containers(
        self, world: World, until: Until
    ) -> None:
        if not world.engine.facts().capabilities.on_this_host:
            pytest.skip("the network is its cluster's")
        plan = replace(world.plan(), network=Network())
        container = world.started(plan, until)

        def kept() -> list[PoolName]:
            """The pools that there are networks of."""
            asked: list[PoolName] = []

            def of(host: HostId, pool: PoolName) -> bool:
                if host == plan.host:
                    asked.append(pool)
                return False

            world.engine.sweep(of)
            return asked

        assert kept() == [plan.pool]
        with pytest.raises(Passing):
            world.engine.sweep(lambda host, pool: (host, pool) == (plan.host, plan.pool))
        world.engine.remove(container)
        world.engine.sweep(lambda host, pool: (host, pool) == (plan.host, plan.pool))
        assert kept() == []
        world.started(replace(world.plan(), network=Network()), until)  # it is made again

    def test_agents_join_a_kept_network_one_after_the_other(
        self, engine: Engine, world: World, until: Until
    ) -> None:
        if not engine.facts().capabilities.sandbox:
            pytest.skip("it keeps no network for a slot")
        spec = world.sandboxed()
        holder = world.holder(spec)
        seen = world.seen(holder)
        assert seen is not None
        assert (seen.holds, seen.live, seen.slot, seen.sandbox) == (True, True, spec.name, None)
        for _ in range(2):
            plan = world.joining(spec, holder)
            container = world.started(plan, until)
            seen = world.seen(container)
            assert seen is not None
            assert (seen.holds, seen.sandbox) == (False, holder)
            assert engine.sandbox_is_empty(holder)
            engine.open(plan.generation, container, frame(plan.generation, TRUE))
            until(lambda plan=plan: world.witness(plan).exit is not None, 30)  # type: ignore[misc]
            until(lambda: engine.sandbox_is_empty(holder), 30)
            engine.remove(container)
        engine.remove(holder)
        until(lambda: world.seen(holder) is None, 30)
        assert not engine.sandbox_is_empty(holder)
        with pytest.raises(Passing):
            engine.prepare(world.joining(spec, holder))

    def test_what_an_image_says_by_our_labels_its_containers_do_not(
        self, engine: Engine, world: World, claiming: str, until: Until
    ) -> None:
        facts = engine.image(claiming)
        assert facts is not None
        assert not facts.seen or CLAIMS.items() <= facts.labels.items()
        joins = engine.facts().capabilities.sandbox
        spec = replace(world.sandboxed(), image=claiming)
        holder = world.holder(spec) if joins else None
        plan = world.joining(spec, holder)
        agent = world.started(plan, until)
        seen = {one.id: one for one in looked_at("", engine.list()) if one.host == world.host}
        assert {one: seen[one].holds for one in seen} == {agent: False} | (
            {holder: True} if holder is not None else {}
        )
        assert all(is_ours(one, Memory()) for one in seen.values()), seen
        assert {one.lease for one in seen.values()} == {()}
        nobodys = replace(world.plan(), image=claiming, labels=NOBODYS)
        container = world.started(nobodys, until)
        try:
            assert world.seen(container) is None
        finally:
            engine.remove(container)

    def test_where_the_name_is_taken_the_spare_one_is_used(
        self, world: World, until: Until
    ) -> None:
        first = world.plan()
        world.started(first, until)
        second = world.plan(name=first.name)
        container = world.started(second, until)
        seen = world.seen(container)
        assert seen is not None
        assert seen.name == second.spare_name

    def test_a_name_is_given_to_one_alone(self, world: World, until: Until) -> None:
        if not world.engine.facts().capabilities.renames:
            pytest.skip("it gives no other names, and says so")
        first, second = world.plan(), world.plan()
        one, other = world.started(first, until), world.started(second, until)
        with pytest.raises(NameTaken):
            world.engine.rename(other, first.name)
        world.engine.rename(one, f"{first.name}-new")
        world.engine.rename(one, f"{first.name}-new")
        world.engine.rename(other, first.name)
        assert {found.name for found in world.engine.list() if found.host == world.host} == {
            f"{first.name}-new",
            first.name,
        }

    @pytest.mark.parametrize("signal", ["TERM", "KILL"])
    def test_a_signal_ends_an_agent_and_a_late_one_is_a_success(
        self, world: World, until: Until, signal: str
    ) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
        until(lambda: world.witness(plan).opened is not None, 30)
        until(lambda: not world.engine.at_gate(container), 30)  # its job has begun
        world.engine.signal(container, signal)
        until(lambda: (seen := world.seen(container)) is None or not seen.live, 30)
        assert (world.witness(plan).exit is None) == (signal == "KILL")
        world.engine.signal(container, signal)

    def test_a_frozen_agent_does_nothing_until_it_is_thawed_and_dies_all_the_same(
        self, world: World, until: Until
    ) -> None:
        if not world.engine.facts().capabilities.freezes:
            pytest.skip("it freezes nothing, and says so")
        container = world.started(world.plan(), until)

        def state() -> ContainerState | None:
            seen = world.seen(container)
            return seen.state if seen is not None else None

        for _ in range(2):
            world.engine.freeze(container)
            assert state() is ContainerState.PAUSED
            with pytest.raises(Passing):
                world.engine.exec_probe(container, ("/bin/true",), 10.0)
        for _ in range(2):
            world.engine.thaw(container)
            assert state() is ContainerState.RUNNING
        world.engine.freeze(container)
        world.engine.remove(container)
        assert state() is None
        world.engine.freeze(container)
        world.engine.thaw(container)

    def test_an_agent_may_be_made_to_count_for_less_again_and_again(
        self, world: World, until: Until
    ) -> None:
        if not world.engine.facts().capabilities.weighs:
            pytest.skip("it weighs nobody anew, and says so")
        container = world.started(world.plan(), until)
        for weight in (0.125, 0.125, 0.0, 1.0):
            world.engine.weigh(container, weight)
        seen = world.seen(container)
        assert seen is not None
        assert seen.live
        world.engine.remove(container)
        world.engine.weigh(container, 1.0)

    def test_removing_ends_it_and_a_second_time_is_a_success(
        self, world: World, until: Until
    ) -> None:
        container = world.started(world.plan(), until)
        world.engine.remove(container)
        assert world.seen(container) is None
        world.engine.remove(container)
        world.engine.signal(container, "TERM")

    def test_what_is_gone_cannot_be_opened_or_looked_into(self, world: World, until: Until) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        world.engine.remove(container)
        # The way into its gate may be held still: what is written there then opens nothing.
        with suppress(Passing):
            world.engine.open(plan.generation, container, frame(plan.generation, TRUE))
        assert world.witness(plan).opened is None
        with pytest.raises((Gone, Passing)):
            world.engine.open(plan.generation, container, frame(plan.generation, TRUE))
        with pytest.raises(Fault):
            world.engine.exec_probe(container, ("/bin/true",), 5.0)
        assert world.engine.at_gate(container)

    def test_a_process_beside_the_job_is_talked_to_and_ends_with_the_container(
        self, world: World, until: Until
    ) -> None:
        plan = world.plan()
        container = world.started(plan, until)
        world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
        until(lambda: world.witness(plan).opened is not None, 30)
        beside = self._beside(world, container)
        try:
            assert beside.send(b"hello") == 5
            assert self._heard(beside, until) == b"hello"
            beside.end_input()
            assert self._heard(beside, until) is None
            until(lambda: beside.exit_code() == 0, 30)
            assert beside.begun(), "also of one that has ended"
        finally:
            beside.close()
        beside = self._beside(world, container)
        try:
            beside.send(b"again")
            assert self._heard(beside, until) == b"again"
            world.engine.remove(container)
            assert self._heard(beside, until) is None
            with pytest.raises(Gone):
                self._beside(world, container)
        finally:
            beside.close()

    def _beside(self, world: World, container: ContainerId) -> Execution:
        return world.engine.execute(
            container, ("/bin/cat",), user="1000:1000", variables={"MARK": "m"}, terminal=False
        )

    def _heard(self, beside: Execution, until: Until) -> bytes | None:
        """What comes next; ``None`` where it is the end."""
        heard: list[tuple[tuple[int, bytes], ...] | None] = []

        def look() -> bool:
            heard.append(beside.receive())
            return heard[-1] != ()

        until(look, 30)
        found = heard[-1]
        return None if found is None else b"".join(data for _, data in found)

    def test_an_agent_that_may_have_containers_is_granted_what_it_has_itself_and_all_of_it_goes(
        self, world: World, until: Until, tmp_path: Path
    ) -> None:
        if not world.engine.facts().capabilities.gateway:
            pytest.skip("its agents have no containers of their own, and it says so")
        plan = world.with_door(tmp_path)
        container = world.started(plan, until)
        grant = read_grant(world.engine.grant(plan, container))
        assert plan.door is not None
        assert (grant.host, grant.slot, grant.container) == (world.host, plan.slot, container)
        assert (grant.seal, grant.generation) == (plan.door.seal, plan.generation)
        assert grant.work is not None
        assert grant.work.target == "/workspace"
        assert grant.door == f"{plan.door.place}/docker.sock"
        assert grant.allowed_images == ("postgres:*",)
        seen = world.seen(container)
        assert seen is not None
        assert seen.door
        own = (Belonging(plan.generation, plan.door.seal),)
        assert world.engine.belongings(world.host) == own
        for _ in range(2):
            world.engine.clear(tmp_path, world.host, plan.generation, plan.door.seal)
        world.engine.remove(container)
        for _ in range(2):
            world.engine.give_up(plan.generation)
        assert world.engine.belongings(world.host) == ()

    def test_one_that_removes_itself_is_gone_after_its_end(
        self, world: World, until: Until
    ) -> None:
        if not world.engine.facts().capabilities.removes_itself:
            pytest.skip("it leaves removing to the manager, and says so")
        plan = world.plan(removal=Removal.ENGINE)
        container = world.started(plan, until)
        world.engine.open(plan.generation, container, frame(plan.generation, TRUE))
        until(lambda: world.seen(container) is None, 30)
        assert world.witness(plan).exit is not None

    def test_an_end_is_told_as_an_event_with_its_code_and_a_cursor_tells_it_no_second_time(
        self, world: World, until: Until
    ) -> None:
        heard: list[EngineEvent] = []
        turned: list[StreamTurn] = []
        follower = world.engine.watch(heard.append, turned.append)
        try:
            until(lambda: any(turn.up for turn in turned), 30)
            plan = world.plan()
            container = world.started(plan, until)
            world.engine.open(plan.generation, container, frame(plan.generation, TRUE))

            def died() -> bool:
                return any(e.action == "die" and e.generation == plan.generation for e in heard)

            until(died, 30)
            (death,) = [e for e in heard if e.action == "die" and e.generation == plan.generation]
            assert (death.exit_code, death.host, death.slot) == (0, plan.host, plan.slot)
            until(lambda: follower.cursor is not None, 30)
        finally:
            follower.stop()
        again: list[EngineEvent] = []
        told: list[StreamTurn] = []
        second = world.engine.watch(again.append, told.append, cursor=follower.cursor)
        try:
            until(lambda: any(turn.up for turn in told), 30)
            assert [e for e in again if e.action == "die" and e.generation == plan.generation] == []
        finally:
            second.stop()

    def test_output_is_kept_without_mayfly_s_own_lines_and_its_end_is_told(
        self, world: World, until: Until, tmp_path: Path, prints: Callable[[World, AgentPlan], None]
    ) -> None:
        ended = threading.Event()
        listener = OutputListener(
            rung=lambda _: None,
            ended=lambda _: ended.set(),
            line=lambda *_: None,
            failed=lambda what, error: pytest.fail(f"{what}: {error}"),
            printed=lambda *_: None,
        )
        keeper = world.engine.output(
            tmp_path / "output", listener, per_agent=1 << 20, total=1 << 22, log_size=1 << 20
        )
        keeper.start()
        try:
            plan = world.plan()
            container = world.started(plan, until)
            keeper.follow(plan.generation, container)
            job = {
                "job.argv": words(["sh", "-c", "echo one; sleep 0.2; echo two"]),
                "job.env": words([]),
            }
            world.engine.open(plan.generation, container, frame(plan.generation, job))
            prints(world, plan)
            assert ended.wait(30)
            chunks = keeper.read(plan.generation, follow=False)
            assert b"".join(chunk.data for chunk in chunks) == b"one\ntwo\n"
        finally:
            keeper.close()
