"""The kernel's word that nothing of a container runs any more, with PID namespaces made here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from mayfly.core.model import ContainerId, Generation
from mayfly.edge.process_end import ProcessEnds
from tests.harness import until

G = Generation("mywpiww08rvl3")
OURS = ContainerId(Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1])
# The first process waits for a line and leaves another behind, which the kernel has to end.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
JOB = "sleep 300 & read -r _; exit 3"


@pytest.fixture
def told() -> SimpleQueue[tuple[Generation, ContainerId]]:
    return SimpleQueue()


@pytest.fixture
def ends(told: SimpleQueue[tuple[Generation, ContainerId]]) -> Iterator[ProcessEnds]:
    def failed(_: str, error: BaseException) -> None:
        raise error

    ends = ProcessEnds(lambda *gone: told.put(gone), failed)
    ends.start()
    yield ends
    ends.stop()


@contextmanager
def first_process() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The number of a first process, and its parent, which ends with it."""
    with subprocess.Popen((*NAMESPACE, "sh", "-c", JOB), stdin=subprocess.PIPE) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        until(lambda: parent.poll() is not None or children.read_text(), "it has begun", 20)
        if parent.poll() is not None:
            pytest.skip("no PID namespace can be made here")
        yield int(children.read_text()), parent
        parent.kill()


def test_the_end_is_told_once_and_not_before(
    ends: ProcessEnds, told: SimpleQueue[tuple[Generation, ContainerId]]
) -> None:
    with first_process() as (number, parent):
        assert ends.watch(G, OURS, number)
        assert not ends.untried({OURS})
        assert ends.awaits(G)
        with pytest.raises(Empty):
            told.get(timeout=0.05)
        parent.communicate(b"\n")
    assert told.get(timeout=20) == (G, OURS)
    assert told.empty()
    assert not ends.awaits(G)
    assert ends.untried({OURS}) == set(), "an end that was told is not asked for again"
    assert ends.untried(set()) == set()
    assert ends.untried({OURS}) == {OURS}


def test_a_number_that_is_no_first_process_of_that_container_is_not_watched(
    ends: ProcessEnds, told: SimpleQueue[tuple[Generation, ContainerId]]
) -> None:
    with first_process() as (number, parent):
        assert not ends.watch(G, ContainerId("f" * 64), number), "another control group"
        assert not ends.watch(G, OURS, parent.pid), "the host's own PID namespace"
        parent.communicate(b"\n")
        assert not ends.watch(G, OURS, number), "it has ended"
    assert not ends.watch(G, OURS, 2**22 + 1), "there is no such process"
    assert told.empty()
