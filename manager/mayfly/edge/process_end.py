"""The kernel's word that nothing of a container runs any more, through pidfds (pidfd_open(2)).

A container's first process is the last of its PID namespace to go: the kernel ends all others before it. Its
pidfd is readable from then on, some 100 ms before an engine says so, whatever the job has written or printed.
The number that an engine names is proved to be that process's, by its control group, once the pidfd is held:
a number can be another's by then. Where that cannot be had (an engine on another machine or in another PID
namespace, a kernel before 5.3) nobody is watched, and the engine's own word has to do.

It must never say an end that it has not from the kernel.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path

from mayfly.core.model import ContainerId, Generation
from mayfly.edge.lasting_thread import LastingThread

Over = Callable[[Generation, ContainerId], None]
Failed = Callable[[str, BaseException], None]


class ProcessEnds:
    """A thread that tells when a container's last process is gone; ``over`` is called on it.

    ``watch`` and what goes with it may be called from any thread.
    """

    def __init__(self, over: Over, failed: Failed) -> None:
        self._over = over
        self._failed = failed
        # Whoever adds writes, the thread takes: each is one operation on a dict.
        self._watched: dict[int, tuple[Generation, ContainerId]] = {}
        self._tried: set[ContainerId] = set()
        self._awaited: dict[Generation, tuple[ContainerId, int]] = {}
        self._poll = select.epoll()
        self._bell, self._ringer = os.pipe()
        self._poll.register(self._bell, select.EPOLLIN)
        self._thread = LastingThread(self._run, "process-ends")

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and let go of every process."""
        os.write(self._ringer, b".")
        self._thread.join()
        for descriptor in (*self._watched, self._bell, self._ringer):
            os.close(descriptor)
        self._watched.clear()
        self._poll.close()

    def untried(self, containers: AbstractSet[ContainerId]) -> AbstractSet[ContainerId]:
        """Those that nobody has tried to watch; all others than these are forgotten."""
        self._tried &= containers
        return containers - self._tried

    def awaited(self) -> dict[Generation, tuple[ContainerId, int]]:
        """Whose ends are going to be told, with the numbers of their first processes."""
        return dict(self._awaited)

    def awaits(self, generation: Generation) -> bool:
        """Whether its end is going to be told."""
        return generation in self._awaited

    def watch(self, generation: Generation, container: ContainerId, process: int) -> bool:
        """Tell when that container is over, whose first process has this number, as its engine says.

        Whether it will be told: not where the number is no such process's.
        """
        self._tried.add(container)
        try:
            descriptor = os.pidfd_open(process)
        except (OSError, AttributeError):  # a Python or a kernel without, or it has ended
            return False
        if not _is_first_process(process, container) or _has_ended(descriptor):
            os.close(descriptor)
            return False
        self._watched[descriptor] = (generation, container)
        self._awaited[generation] = (container, process)
        self._poll.register(descriptor, select.EPOLLIN)
        return True

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._bell:
                    return
                try:
                    self._tell(descriptor)
                except Exception as error:  # noqa: BLE001  the others are still to be told of
                    self._failed("the end of a container's processes", error)

    def _tell(self, descriptor: int) -> None:
        generation, container = self._watched.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        self._awaited.pop(generation, None)
        self._over(generation, container)


def _is_first_process(process: int, container: ContainerId) -> bool:
    """Whether the process is in that container's control group, and the first of a PID namespace of its own
    (proc(5): ``cgroup``, and ``NSpid`` of ``status``).
    """
    place = Path("/proc") / str(process)
    try:
        groups = (place / "cgroup").read_text(encoding="utf-8", errors="replace")
        status = (place / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    numbers = next(
        (line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), []
    )
    return container in groups and len(numbers) > 1 and numbers[-1] == "1"


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
