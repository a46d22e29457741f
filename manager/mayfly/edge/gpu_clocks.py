"""The clocks of GPUs, by NVML: locked at a frequency, unlocked, and how the GPUs fare meanwhile.

NVML may hang on a sick GPU, so all of it is done on one thread, one after the other, and nobody waits longer
than `PATIENCE`. What somebody has given up waiting for is not begun any more, unless it has been already; an
unlocking always stands behind the locking before it. NVML does not say whether clocks are locked, nor by
whom: what a person had locked before is overwritten, and gone when Mayfly unlocks.

Clocks are looked at seldom, so that a job that is measured is not disturbed.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from mayfly.core.model import ClocksSeen
from mayfly.core.quantities import whole_number
from mayfly.core.stimuli import ClocksHandled
from mayfly.edge.boot import host_boot
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.gpu_throttling import throttles
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.parent_groups import whose

PATIENCE = 20.0  # seconds that somebody waits for NVML
FIRST_LOOK = 2.0  # seconds after clocks were locked
LOOK_EVERY = 30.0
MODULE = Path("/sys/module/nvidia")
PROCESSES = Path("/proc")
CPUS = Path("/sys/devices/system/cpu/online")
NODES = Path("/sys/devices/system/node/has_memory")
BITS = 64  # of a word of NVML's sets
NODE_WORDS = 16
NO_PERMISSION, NOT_SUPPORTED = 4, 3
GONE = (9, 12)  # no driver
LOST = (6, 15)  # no such GPU, or not any more


# -- what a GPU is like ----------------------------------------------------------------------------


def base_clock(nvml: Any, handle: Any) -> int | None:
    """MHz that its processors are made to hold, by NVML's default applications clock; ``None``: not told."""
    try:
        return (
            int(nvml.nvmlDeviceGetDefaultApplicationsClock(handle, nvml.NVML_CLOCK_GRAPHICS))
            or None
        )
    except nvml.NVMLError:
        return None


def near_cpus(nvml: Any, handle: Any) -> tuple[int, ...]:
    """The processors near it, of those that are online."""
    online = _listed(CPUS)
    if not online:
        return ()
    words = math.ceil((max(online) + 1) / BITS)
    try:
        mask = nvml.nvmlDeviceGetCpuAffinity(handle, words)
    except nvml.NVMLError:
        return ()
    return tuple(one for one in _numbers(mask) if one in online)


def near_nodes(nvml: Any, handle: Any) -> tuple[int, ...]:
    """The memory nodes near it."""
    with_memory = _listed(NODES)
    try:
        mask = nvml.nvmlDeviceGetMemoryAffinity(handle, NODE_WORDS, nvml.NVML_AFFINITY_SCOPE_NODE)
    except nvml.NVMLError:
        return ()
    return tuple(one for one in _numbers(mask) if one in with_memory)


def _numbers(mask: Sequence[int]) -> Iterator[int]:
    for place, word in enumerate(mask):
        for bit in range(BITS):
            if word >> bit & 1:
                yield place * BITS + bit


def _listed(path: Path) -> frozenset[int]:
    """The numbers of a list such as ``0-3,8``; none where the kernel does not say."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return frozenset()
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        first, last = whole_number(low), whole_number(high or low)
        if first is not None and last is not None:
            found.update(range(first, last + 1))
    return frozenset(found)


def loading(module: Path = MODULE) -> str:
    """Which loading of the driver there is: another text after each boot, and after each time that the module
    is loaded; "" where there is no such module.
    """
    try:
        return f"{host_boot()} {module.stat().st_ino}"
    except OSError:
        return ""


def is_at_work(container: str | None, agent: str, processes: Path = PROCESSES) -> bool:
    """Whether a process is left of an agent's container, or of one that it has made, says the kernel."""
    for entry in processes.iterdir():
        if whole_number(entry.name) is None:
            continue
        try:
            groups = (entry / "cgroup").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        if container and container in groups:
            return True
        paths = (line.split(":", 2)[-1] for line in groups.splitlines())
        if any(one is not None and one.agent == agent for one in map(whose, paths)):
            return True
    return False


# -- locking and unlocking --------------------------------------------------------------------------


@dataclass(slots=True)
class _Watched:
    """A GPU whose clocks are locked, and how it has fared so far."""

    low: int | None = None
    high: int | None = None
    throttled: dict[str, None] = field(default_factory=dict)
    began: int | None = None
    due: float = 0.0


@dataclass(slots=True)
class _Asked:
    """Something that somebody waits for."""

    do: Callable[[], ClocksHandled]
    done: threading.Event = field(default_factory=threading.Event)
    answer: ClocksHandled | Fault | None = None  # None: there is none yet
    given_up: bool = False


class GpuClocks:
    """Locks and unlocks clocks; its calls may be made from any thread, and each waits `PATIENCE` at most."""

    def __init__(
        self,
        *,
        module: Path = MODULE,
        patience: float = PATIENCE,
        first_look: float = FIRST_LOOK,
    ) -> None:
        self._module = module
        self._patience = patience
        self._first_look = first_look
        self._queue: SimpleQueue[_Asked] = SimpleQueue()
        self._watched: dict[str, _Watched] = {}
        self._thread = LastingThread(self._run, "gpu-clocks")
        self._busy_since: float | None = None

    def lock(self, gpus: Sequence[str], clock: int, memory: int | None) -> ClocksHandled:
        """Have them run at that many MHz, and how they are then; ``Fault`` where one of them does not."""
        return self._ask(lambda: self._lock(gpus, clock, memory))

    def unlock(self, gpus: Sequence[str], driver: str, *, memory: bool) -> ClocksHandled:
        """Give the clocks back to the driver, and how the GPUs have fared; ``Fault`` where that is not known.

        ``driver``: the loading that has them, "" where nobody knows. Locks of another are gone with it.
        """
        return self._ask(lambda: self._unlock(gpus, driver, memory=memory))

    def watch(self, gpus: Sequence[str]) -> None:
        """Look at GPUs that an earlier manager has locked; nobody waits for that."""
        self._put(_Asked(lambda: self._begin_to_watch(gpus)))

    # -- the thread --

    def _ask(self, do: Callable[[], ClocksHandled]) -> ClocksHandled:
        since = self._busy_since
        if since is not None and time.monotonic() - since > self._patience:
            raise Passing(f"NVML has not answered for {time.monotonic() - since:.0f} s")
        asked = _Asked(do)
        self._put(asked)
        if not asked.done.wait(self._patience):
            asked.given_up = True
            raise Passing(f"NVML did not answer within {self._patience:g} s: see dmesg")
        if isinstance(asked.answer, Fault):
            raise asked.answer
        assert asked.answer is not None
        return asked.answer

    def _put(self, asked: _Asked) -> None:
        self._queue.put(asked)
        self._thread.start()

    def _run(self) -> None:
        while True:
            asked = self._next()
            self._busy_since = time.monotonic()
            try:
                if asked is None:
                    self._look()
                elif not asked.given_up:
                    self._answer(asked)
            finally:
                self._busy_since = None

    def _next(self) -> _Asked | None:
        """What is to be done next; ``None``: a look is due."""
        if not self._watched:
            return self._queue.get()
        due = min(one.due for one in self._watched.values())
        try:
            return self._queue.get(timeout=max(0.0, due - time.monotonic()))
        except Empty:
            return None

    @staticmethod
    def _answer(asked: _Asked) -> None:
        try:
            asked.answer = asked.do()
        except Fault as fault:
            asked.answer = fault
        except Exception as error:
            asked.answer = Passing(f"{type(error).__name__}: {error}")
            raise
        finally:
            asked.done.set()

    # -- on it --

    def _lock(self, gpus: Sequence[str], clock: int, memory: int | None) -> ClocksHandled:
        with _session() as nvml:
            handles = [(uuid, _handle(nvml, uuid)) for uuid in gpus]
            for uuid, handle in handles:  # nothing is locked where one cannot be
                _check(nvml, uuid, handle, clock, memory)
            for uuid, handle in handles:
                with _told(nvml, uuid):
                    nvml.nvmlDeviceSetPersistenceMode(handle, 1)
                    nvml.nvmlDeviceSetGpuLockedClocks(handle, clock, clock)
                    if memory is not None:
                        nvml.nvmlDeviceSetMemoryLockedClocks(handle, memory, memory)
            seen = []
            for uuid, handle in handles:
                degrees = _temperature(nvml, handle)
                self._watched[uuid] = _Watched(
                    began=degrees, due=time.monotonic() + self._first_look
                )
                seen.append(ClocksSeen(uuid, began=degrees))
        return ClocksHandled(loading(self._module), tuple(seen))

    def _unlock(self, gpus: Sequence[str], driver: str, *, memory: bool) -> ClocksHandled:
        from mayfly.edge.gpus import meaning  # noqa: PLC0415  it asks this one what a GPU is like

        now = loading(self._module)
        seen: list[ClocksSeen] = []
        unheld = ""
        try:
            with _session() as nvml:
                for uuid in gpus:
                    try:
                        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
                    except nvml.NVMLError as error:
                        if int(error.value) not in LOST:
                            raise Passing(f"{uuid}: {meaning(error)}") from error
                        unheld = f"{uuid} is not there any more: {meaning(error)}"
                        continue
                    seen.append(self._seen(nvml, uuid, handle))
                    if driver and now and now != driver:
                        unheld = _other_loading(driver, now)
                        continue  # what is locked now, if anything is, is somebody else's
                    if not _persists(nvml, handle):
                        unheld = (
                            f"persistence mode of {uuid} is off, so the driver was loaded again or somebody "
                            "changed it: whether the clocks were held is not known"
                        )
                    with _told(nvml, uuid):
                        nvml.nvmlDeviceResetGpuLockedClocks(handle)
                        if memory:
                            nvml.nvmlDeviceResetMemoryLockedClocks(handle)
        except _NoDriver as fault:
            unheld = f"the driver is gone, and its locks with it: {fault}"
        for uuid in gpus:
            self._watched.pop(uuid, None)
        return ClocksHandled(now, tuple(seen), unheld)

    def _begin_to_watch(self, gpus: Sequence[str]) -> ClocksHandled:
        for uuid in gpus:
            self._watched.setdefault(uuid, _Watched(due=time.monotonic()))
        return ClocksHandled()

    def _look(self) -> None:
        """How those fare that are due."""
        due = time.monotonic()
        try:
            with _session() as nvml:
                for uuid, watched in self._watched.items():
                    if watched.due <= due:
                        watched.due = due + LOOK_EVERY
                        with contextlib.suppress(nvml.NVMLError):
                            _observe(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid), watched)
        except Fault:  # whoever unlocks them is told why
            for watched in self._watched.values():
                watched.due = max(watched.due, due + LOOK_EVERY)

    def _seen(self, nvml: Any, uuid: str, handle: Any) -> ClocksSeen:
        watched = self._watched.get(uuid) or _Watched()
        watched.throttled.update(dict.fromkeys(_throttled(nvml, handle)))
        return ClocksSeen(
            uuid,
            watched.low,
            watched.high,
            tuple(watched.throttled),
            watched.began,
            _temperature(nvml, handle),
        )


class _NoDriver(Refused):
    """There is none, so nothing is locked."""


@contextlib.contextmanager
def _session() -> Iterator[Any]:
    """NVML, for as long as it is needed: a driver that nobody holds can be unloaded."""
    from mayfly.edge.gpus import load, meaning  # noqa: PLC0415  it asks this one what a GPU is like

    nvml = load()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        kind = _NoDriver if int(error.value) in GONE else Passing
        raise kind(meaning(error)) from error
    try:
        yield nvml
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


@contextlib.contextmanager
def _told(nvml: Any, uuid: str) -> Iterator[None]:
    """NVML's errors as a sentence with what to do."""
    from mayfly.edge.gpus import meaning  # noqa: PLC0415  likewise

    try:
        yield
    except nvml.NVMLError as error:
        value = int(error.value)
        if value == NO_PERMISSION:
            raise Refused(
                f"the manager may not lock the clocks of {uuid}: the driver wants CAP_SYS_ADMIN for that, "
                "which a drop-in for mayfly.service gives it"
            ) from error
        if value == NOT_SUPPORTED:
            raise Refused(
                f"{uuid} cannot have its clocks locked, or not by this driver: leave `bench`, or "
                "`memory_clock`, out of its pool"
            ) from error
        raise Passing(f"{uuid}: {meaning(error)}") from error


def _handle(nvml: Any, uuid: str) -> Any:
    with _told(nvml, uuid):
        return nvml.nvmlDeviceGetHandleByUUID(uuid)


def _check(nvml: Any, uuid: str, handle: Any, clock: int, memory: int | None) -> None:
    """That the GPU has those frequencies: the driver takes another one without a word (``Refused``)."""
    try:
        memories = [int(one) for one in nvml.nvmlDeviceGetSupportedMemoryClocks(handle)]
        if memory is not None and memories and memory not in memories:
            raise Refused(_unsupported(uuid, "memory_clock", memory, memories))
        at = memory if memory is not None else max(memories, default=None)
        if at is None:
            return
        clocks = [int(one) for one in nvml.nvmlDeviceGetSupportedGraphicsClocks(handle, at)]
    except nvml.NVMLError:
        return  # one that lists none takes what it is told, or refuses it
    if clocks and clock not in clocks:
        raise Refused(_unsupported(uuid, "clock", clock, clocks))


def _unsupported(uuid: str, key: str, wanted: int, supported: list[int]) -> str:
    nearest = sorted(sorted(supported, key=lambda one: abs(one - wanted))[:2])
    near = " and ".join(f"{one}" for one in nearest)
    return f"{uuid} has no {wanted} MHz for `{key}`: the nearest are {near}"


def _persists(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetPersistenceMode(handle))
    except nvml.NVMLError:
        return True  # it does not say


def _other_loading(before: str, now: str) -> str:
    booted = before.partition(" ")[0] != now.partition(" ")[0]
    what = "the host was started again" if booted else "the driver was loaded again"
    return f"{what} meanwhile, and its locks are gone with that"


def _observe(nvml: Any, handle: Any, watched: _Watched) -> None:
    clock = int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
    watched.low = clock if watched.low is None else min(watched.low, clock)
    watched.high = clock if watched.high is None else max(watched.high, clock)
    watched.throttled.update(dict.fromkeys(_throttled(nvml, handle)))


def _throttled(nvml: Any, handle: Any) -> tuple[str, ...]:
    try:
        found = int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nvml.NVMLError:
        try:  # of a driver before 535
            found = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        except nvml.NVMLError:
            return ()
    return tuple(str(one) for one in throttles(found))


def _temperature(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    except nvml.NVMLError:
        return None
