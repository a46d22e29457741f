"""Figures as the writer keeps them: written when there is a place for them, once or with each reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mayfly.core.gpus import Gpus
from mayfly.core.job_lines import of_all
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Config, Desired, HostId, HostSpec
from mayfly.core.state import State, begin
from mayfly.edge.figures import Figures
from mayfly.service.figures_writer import FiguresWriter
from tests.core.test_job_lines import NOW, agent, busy, known, read, spec
from tests.harness import until

ONE = agent("GPU-5a1f", opened=NOW)


def state(gpus: Gpus, *agents: Agent) -> State:
    config = Config(HostSpec("box1"), ())
    begun = begin(HostId("h"), "run1", config, Memory(), Gpus(), 0)
    memory = replace(begun.memory, agents={one.generation: one for one in agents})
    return replace(begun, memory=memory, gpus=gpus, desired=Desired((spec(lease=ONE.lease),)))


def test_they_follow_the_readings_and_the_first_is_said_once(tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    writer = FiguresWriter(figures)
    readings = [read(NOW + n, GPU_5a1f=busy(NOW + n)) for n in (0, 2, 4)]
    writer.publish(state(known(ONE, *readings[:1]), ONE))  # nobody has made the directory yet
    place = figures.make(ONE.generation)
    writer.publish(state(known(ONE, *readings[:2]), ONE))
    until((place / "last").exists, "the figures are written")
    first = (place / "first").read_text()
    assert first.startswith("mayfly: slot gpu-1 of box1")
    assert "0.11 Wh" in (place / "last").read_text()
    other = state(known(ONE, *readings), ONE)
    other = replace(other, config=Config(HostSpec("renamed"), ()))
    writer.publish(other)
    until(lambda: "0.22 Wh" in (place / "last").read_text(), "the next reading is written")
    assert (place / "first").read_text() == first
    writer.stop()


def test_a_manager_that_starts_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    figures = Figures(tmp_path)
    place = figures.make(ONE.generation)
    figures.write(ONE.generation, {"first": "mayfly: as it was\n", "last": "mayfly: old\n"})
    writer = FiguresWriter(figures)
    writer.publish(state(known(ONE, read(NOW, GPU_5a1f=busy(NOW))), ONE))
    until(lambda: "old" not in (place / "last").read_text(), "the figures are written")
    assert (place / "first").read_text() == "mayfly: as it was\n"
    writer.stop()


def test_who_has_no_figures_costs_no_thread(tmp_path: Path) -> None:
    writer = FiguresWriter(Figures(tmp_path))
    local = replace(spec(), embedded=True)
    writer.publish(replace(state(Gpus(), ONE), desired=Desired((local,))))
    off = spec(pool=replace(spec().pool, job_lines=False))
    writer.publish(replace(state(Gpus(), ONE), desired=Desired((off,))))
    assert not writer.begun
    writer.stop()


def test_between_two_readings_only_who_is_new_is_told_of() -> None:
    gpus = known(ONE, read(NOW, GPU_5a1f=busy(NOW)), read(NOW + 2, GPU_5a1f=busy(NOW + 2)))
    idle = of_all(state(gpus, replace(ONE, opened=None, confirmed=None)), {})
    assert not idle[ONE.generation].last
    begun = of_all(state(gpus, ONE), idle, looked=False)
    assert "61" in begun[ONE.generation].last
    after = of_all(state(gpus, ONE), begun, looked=False)
    assert after[ONE.generation] is begun[ONE.generation]
