"""NVIDIA's management library: which GPUs there are, how they fare, and what the driver reports of them.

The only importer of ``pynvml``, and only once it is asked for. NVML may hang on a sick GPU, so it is called
on one thread of its own (``GpuWatch``) and nobody waits for it: what was read last is published, with its
times. The session is opened late and opened again after an error of the driver, since the driver may come,
go and be replaced under a running manager.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from mayfly.core.gpu_health import Process, Reading, Vitals
from mayfly.core.gpu_metering import Throttle
from mayfly.core.leases import Gpu, Mig
from mayfly.core.model import ContainerId
from mayfly.core.plain_text import clean
from mayfly.core.xids import Xid
from mayfly.edge import gpu_clocks, gpu_gauges
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.gpu_throttling import throttles
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.leftover_processes import age_of, command_of
from mayfly.edge.parent_groups import whose
from mayfly.edge.process_owner import uid_of

IDENTITY_EVERY = 60.0  # seconds after which names and capabilities are asked for again
XIDS_A_READING = 100_000  # a storm that is longer is read on at the next look
SLOWEST = 10.0  # seconds between looks while there is no driver
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:$|/)", re.MULTILINE)

# Each kind of error of NVML's that an operator can do something about: what it means, and the fix.
_MEANINGS = {
    4: "this user may not talk to the driver: run the manager as root, or see to the permissions of "
    "/dev/nvidia*",
    9: "the NVIDIA driver's kernel module is not loaded: `modprobe nvidia`, and see dmesg where that fails "
    "(after a new kernel the module has to be built again)",
    11: "the kernel cannot get at the GPU's interrupts: see dmesg, and the BIOS's settings for PCI",
    12: "there is no NVIDIA driver on this host (libnvidia-ml.so.1 is not to be found): install it, or set "
    'host.gpu = "off"',
    13: "the NVIDIA driver is too old for this call: upgrade it",
    15: "the GPU has fallen off the bus: see dmesg, then reboot, or reseat it",
    16: "the GPU has to be reset: `nvidia-smi --gpu-reset`, or reboot",
    17: "the operating system blocked the driver: see to the device cgroup, SELinux or AppArmor",
    18: "the NVIDIA driver's library and its kernel module are of different versions, as after an upgrade: "
    "drain, then reboot (or reload the module and restart mayfly)",
    20: "the driver has no memory left: see `free -h`",
    27: "the GPU is not ready yet",
    999: "the driver fails without saying why: see dmesg; inside a container, its devices were taken away",
}
CORE = 0  # NVML_TEMPERATURE_GPU
_AGAIN = frozenset({1, 15, 16, 18, 999})  # after these the session is opened anew
_NEEDS_RESET = 16
_LOST = frozenset({15, _NEEDS_RESET})


class _Gone(Exception):
    """The session is of no use any more, for this reason."""


@dataclass(slots=True)
class _Device:
    """A GPU as the session knows it."""

    handle: Any
    gpu: Gpu


def load() -> Any:
    """NVIDIA's own module; ``Refused`` where another of that name is installed, or none."""
    try:
        ours = importlib.metadata.distribution("nvidia-ml-py")
    except importlib.metadata.PackageNotFoundError:
        raise Refused(
            "the Python package nvidia-ml-py is missing: `pip install --force-reinstall nvidia-ml-py`, in "
            "mayfly's environment"
        ) from None
    module: Any = importlib.import_module("pynvml")
    found = Path(str(module.__file__)).resolve()
    if found != Path(str(ours.locate_file("pynvml.py"))).resolve():
        raise Refused(
            f"the Python module pynvml is not NVIDIA's but {found}: `pip uninstall pynvml`, then "
            "`pip install --force-reinstall nvidia-ml-py`, in mayfly's environment"
        )
    return module


def probe_script() -> str:
    """What is run inside an agent to see which GPUs it sees: ``agents/probe``."""
    return (files("mayfly") / "data" / "agents" / "probe").read_text(encoding="utf-8")


class Session:
    """NVML as one thread uses it; every answer is a value, whatever happens."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._open = False
        self._devices: list[_Device | None] = []
        self._named = 0.0
        self._events: Any = None
        self._watched: dict[int, str] = {}  # a handle's address -> the GPU's UUID
        self._driver = ""
        self._loading = ""
        self._cuda: tuple[int, int] | None = None
        self._last: dict[
            int, Gpu
        ] = {}  # what was at each index, for when it does not answer any more
        self._unnamed: dict[int, int] = {}  # what NVML answered instead of a name, by index

    def read(self) -> Reading:
        """Everything, as of now; where the driver fails, why it does."""
        began = time.time()
        try:
            self._ensure_module()
        except Refused as fault:
            return Reading(began, time.time(), problem=str(fault))
        problem = ""
        for _ in range(2):
            try:
                return self._read(began)
            except _Gone as reason:
                problem = str(reason)
                self.close()
        return Reading(began, time.time(), driver=self._driver, problem=problem)

    def close(self) -> None:
        """Let go of the driver, so that it may be unloaded, a GPU reset, or MIG changed."""
        if self._open:
            with suppress(self._nvml.NVMLError):
                if self._events is not None:
                    self._nvml.nvmlEventSetFree(self._events)
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
        self._open, self._events, self._devices, self._named = False, None, [], 0.0

    # -- the session ------------------------------------------------------------------------------

    def _ensure_module(self) -> None:
        if self._nvml is None:
            self._nvml = load()

    def _read(self, began: float) -> Reading:
        self._ensure_open()
        xids = tuple(self._new_xids())
        if began - self._named > IDENTITY_EVERY:
            self._name_all()
        gpus: list[Gpu] = []
        vitals: dict[str, Vitals] = {}
        for index, device in enumerate(self._devices):
            gpu, found = self._examine(index, device)
            if gpu is not None:
                gpus.append(gpu)
                vitals |= found
        return Reading(
            began=began,
            ended=time.time(),
            driver=self._driver,
            loading=self._loading,
            cuda=self._cuda,
            gpus=tuple(gpus),
            vitals=vitals,
            xids=xids,
        )

    def _ensure_open(self) -> None:
        if self._open:
            return
        nvml = self._nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise _Gone(self._sentence(error)) from error
        self._open = True
        try:
            self._driver = nvml.nvmlSystemGetDriverVersion()
            self._loading = gpu_clocks.loading()
            self._cuda = self._highest_cuda()
            self._events = self._maybe(nvml.nvmlEventSetCreate)
        except nvml.NVMLError as error:
            raise _Gone(self._sentence(error)) from error
        self._name_all()

    def _highest_cuda(self) -> tuple[int, int] | None:
        number = self._maybe(self._nvml.nvmlSystemGetCudaDriverVersion_v2)
        if number is None:
            number = self._maybe(self._nvml.nvmlSystemGetCudaDriverVersion)
        return (number // 1000, number % 1000 // 10) if number else None

    def _name_all(self) -> None:
        """Which GPUs there are; one that cannot be named does not hide the others."""
        nvml = self._nvml
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise _Gone(self._sentence(error)) from error
        known = {device.gpu.uuid for device in self._devices if device is not None}
        devices: list[_Device | None] = []
        for index in range(count):
            device = self._name(index)
            devices.append(device)
            if device is not None and device.gpu.uuid not in known:
                self._register(device)
        self._devices, self._named = devices, time.time()

    def _name(self, index: int) -> _Device | None:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            gpu = Gpu(
                uuid=nvml.nvmlDeviceGetUUID(handle),
                index=index,
                name=clean(nvml.nvmlDeviceGetName(handle)).replace("_", " "),
                memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
                capability=self._maybe(nvml.nvmlDeviceGetCudaComputeCapability, handle),
                minor=self._maybe(nvml.nvmlDeviceGetMinorNumber, handle),
                bus=self._bus(self._maybe(nvml.nvmlDeviceGetPciInfo, handle)),
                links=self._links(handle),
                base_clock=gpu_clocks.base_clock(nvml, handle),
                cpus=gpu_clocks.near_cpus(nvml, handle),
                nodes=gpu_clocks.near_nodes(nvml, handle),
            )
        except nvml.NVMLError as error:
            if error.value == 18:
                raise _Gone(self._sentence(error)) from error
            self._unnamed[index] = int(error.value)
            return None
        self._last[index] = gpu
        return _Device(handle, gpu)

    def _links(self, handle: Any) -> tuple[str, ...]:
        """What is at the other ends of its NVLinks: other GPUs, or switches."""
        nvml = self._nvml
        found: dict[str, None] = {}
        for link in range(nvml.NVML_NVLINK_MAX_LINKS):
            state = self._maybe(nvml.nvmlDeviceGetNvLinkState, handle, link)
            if state is None:
                break  # it has no more, or none
            if state:
                end = self._maybe(nvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link)
                found[self._bus(end)] = None
        return tuple(end for end in found if end)

    @staticmethod
    def _bus(info: Any) -> str:
        if info is None:
            return ""
        bus = info.busId
        return (bus.decode(errors="replace") if isinstance(bus, bytes) else str(bus)).lower()

    def _register(self, device: _Device) -> None:
        """Have the driver report this GPU's errors; a GPU that is lost cannot be asked for its name then."""
        nvml, handle = self._nvml, device.handle
        self._watched[_address(handle)] = device.gpu.uuid
        if self._events is None:
            return
        wanted = nvml.nvmlEventTypeXidCriticalError
        with suppress(nvml.NVMLError):  # a GPU too old for events has none
            if nvml.nvmlDeviceGetSupportedEventTypes(handle) & wanted:
                nvml.nvmlDeviceRegisterEvents(handle, wanted, self._events)

    # -- what is read ------------------------------------------------------------------------------

    def _new_xids(self) -> Iterator[Xid]:
        """What the driver reported since the last reading, each kind of error once for each GPU."""
        nvml = self._nvml
        seen: set[tuple[str, int]] = set()
        if self._events is None:
            return
        for _ in range(XIDS_A_READING):
            try:
                event = nvml.nvmlEventSetWait(self._events, 0)
            except nvml.NVMLError_Timeout:
                return
            except nvml.NVMLError as error:
                if error.value in _AGAIN - _LOST:
                    raise _Gone(self._sentence(error)) from error
                return
            uuid = self._watched.get(_address(event.device))
            code = int(event.eventData)
            if event.eventType == nvml.nvmlEventTypeXidCriticalError and uuid is not None:
                if (uuid, code) not in seen:
                    yield Xid(uuid, code, time.time())
                seen.add((uuid, code))

    def _examine(self, index: int, device: _Device | None) -> tuple[Gpu | None, dict[str, Vitals]]:
        """One GPU with its MIG devices; of one that does not answer, what is known of it and why."""
        if device is None:
            again = self._name(index)
            if again is None:
                code = _NEEDS_RESET if self._unnamed.get(index) == _NEEDS_RESET else 15
                known = self._last.get(index)
                named = f"GPU {index} ({known.uuid})" if known is not None else f"GPU {index}"
                return self._lost(index, f"{named} does not answer: {_MEANINGS[code]}", code)
            self._devices[index] = device = again
        nvml = self._nvml
        try:
            vitals = {device.gpu.uuid: self._vitals(device.handle)}
            split, parts = self._parts(device.handle, vitals)
        except nvml.NVMLError as error:
            if error.value in _AGAIN - _LOST:
                raise _Gone(self._sentence(error)) from error
            sentence = f"GPU {index} ({device.gpu.uuid}): {self._sentence(error)}"
            self._devices[index] = None
            return self._lost(index, sentence, int(error.value))
        except nvml.NVMLLibraryMismatchError as error:
            raise _Gone(f"{_MEANINGS[13]} ({error})") from error
        gpu = replace(device.gpu, index=index, mig=parts, split=split)
        self._last[index] = gpu
        return gpu, vitals

    def _lost(
        self, index: int, sentence: str, code: int = 15
    ) -> tuple[Gpu | None, dict[str, Vitals]]:
        gpu = self._last.get(index)
        if gpu is None:
            return None, {}
        vitals = Vitals(problem=sentence, lost=code in _LOST, needs_reset=code == _NEEDS_RESET)
        return gpu, dict.fromkeys((gpu.uuid, *(part.uuid for part in gpu.mig)), vitals)

    def _vitals(self, handle: Any) -> Vitals:
        nvml = self._nvml
        rows = self._maybe(nvml.nvmlDeviceGetRemappedRows, handle) or (0, 0, 0, 0)
        pending = self._maybe(nvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
        used, total = self._memory(handle)
        load = self._maybe(nvml.nvmlDeviceGetUtilizationRates, handle)
        return Vitals(
            used=used,
            total=total,
            utilisation=int(load.gpu) if load is not None else None,
            processes=self._processes(handle),
            ecc=self._maybe(nvml.nvmlDeviceGetTotalEccErrors, handle, 1, 0),
            remap_pending=bool(rows[2]) or bool(pending),
            remap_failed=bool(rows[3]),
            energy=gpu_gauges.maybe(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            throttles=self._throttles(handle),
            temperature=gpu_gauges.maybe(nvml, nvml.nvmlDeviceGetTemperature, handle, CORE),
            gauges=gpu_gauges.read(nvml, handle),
        )

    def _throttles(self, handle: Any) -> tuple[Throttle, ...] | None:
        nvml = self._nvml
        bits = gpu_gauges.maybe(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        if bits is None:  # a driver before 535 has the same under another name
            bits = gpu_gauges.maybe(nvml, nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        return throttles(int(bits)) if bits is not None else None

    def _parts(self, handle: Any, vitals: dict[str, Vitals]) -> tuple[bool, tuple[Mig, ...]]:
        """Whether the GPU is split, and its MIG devices; gaps between their numbers are normal."""
        nvml = self._nvml
        mode = self._maybe(nvml.nvmlDeviceGetMigMode, handle)
        if mode is None or not mode[0]:
            return False, ()
        parts: list[Mig] = []
        for number in range(self._maybe(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            part = self._maybe(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
            uuid = self._maybe(nvml.nvmlDeviceGetUUID, part) if part is not None else None
            if uuid is None:
                continue
            name = clean(self._maybe(nvml.nvmlDeviceGetName, part) or "")
            used, total = self._memory(part)
            parts.append(Mig(uuid, _profile(name), total or 0))
            vitals[uuid] = Vitals(used=used, total=total, processes=self._processes(part))
        return True, tuple(parts)

    def _memory(self, handle: Any) -> tuple[int | None, int | None]:
        """Bytes in use without the driver's own where NVML tells them apart, and in all."""
        nvml = self._nvml
        found = self._maybe(nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
        if found is None:
            found = self._maybe(nvml.nvmlDeviceGetMemoryInfo, handle)
        return (int(found.used), int(found.total)) if found is not None else (None, None)

    def _processes(self, handle: Any) -> tuple[Process, ...]:
        """Whoever computes there or draws, a process that does both once."""
        nvml = self._nvml
        found: dict[int, int | None] = {}
        for ask in (
            nvml.nvmlDeviceGetComputeRunningProcesses,
            nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            for entry in self._maybe(ask, handle) or ():
                known, memory = found.get(int(entry.pid)), entry.usedGpuMemory
                found[int(entry.pid)] = max(known or 0, memory) if memory is not None else known
        return tuple(_process(pid, memory) for pid, memory in found.items())

    def _maybe(self, ask: Callable[..., Any], *arguments: object) -> Any:
        """What NVML answers; ``None`` where this GPU or driver does not have it."""
        nvml = self._nvml
        try:
            return ask(*arguments)
        except nvml.NVMLError as error:
            if error.value in (2, 3, 4, 6, 13, 21, 25, 26):
                return None
            raise

    def _sentence(self, error: Any) -> str:
        return meaning(error)


def meaning(error: Any) -> str:
    """What an error of NVML's means, and what to do."""
    value = int(error.value)
    told = _MEANINGS.get(value, f"NVML fails with {str(error) or value}: see dmesg")
    return told + _versions() if value == 18 else told


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _process(pid: int, memory: int | None) -> Process:
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Process(pid, memory, gone=True)
    found = _CONTAINER.search(groups)
    container = ContainerId(found.group(1)) if found is not None else None
    paths = (line.split(":", 2)[-1] for line in groups.splitlines())
    together = next((one for one in map(whose, paths) if one is not None), None)
    return Process(
        pid,
        memory,
        container,
        agent=together.agent if together is not None else None,
        command=command_of(pid),
        age=age_of(pid),
        uid=uid_of(pid),
    )


def _profile(name: str) -> str:
    """``NVIDIA A100-SXM4-40GB MIG 1g.5gb`` as ``1g.5gb``."""
    return name.replace("_", " ").rpartition("MIG ")[2]


def _versions() -> str:
    try:
        module = Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return f" (the module is {module})"


class GpuWatch:
    """Reads the GPUs on a thread of its own: when asked, and otherwise every so often."""

    def __init__(self, send: Callable[[Reading], None], *, every: float = 10.0) -> None:
        """``send`` receives every reading, on this thread."""
        self._send = send
        self._every = every
        self._asked = threading.Event()
        self._stopping = False
        self._resting = False
        self._aside: SimpleQueue[Callable[[Session], None]] = SimpleQueue()
        self.latest: Reading | None = None  # None: NVML has not answered yet
        self.since: float | None = None  # when the look under way began; None: none is
        self._thread = LastingThread(self._run, "nvml")

    def start(self) -> bool:
        """Begin; the first look is at once. False where no thread is to be had now."""
        self._asked.set()
        return self._thread.start_if_possible()

    def stop(self) -> None:
        """End after the look under way, which nobody waits for."""
        self._stopping = True
        self._asked.set()

    def ask(self) -> None:
        """Have it look soon; asking again while it looks makes it look once more."""
        self._asked.set()

    def aside(self, work: Callable[[Session], None]) -> None:
        """Have something done that nobody may look at the GPUs beside: on this thread, between two looks."""
        self._aside.put(work)
        self._asked.set()

    def pace(self, every: float) -> None:
        """How many seconds there are between looks that nobody asks for."""
        sooner = every < self._every
        self._every = every
        if sooner:
            self._asked.set()

    def rest(self, resting: bool) -> None:
        """Leave the driver alone, so that a person may reset GPUs, split them, or change the driver."""
        if resting is not self._resting:
            self._resting = resting
            self._asked.set()

    def _run(self) -> None:
        session = Session()
        late = 1.0
        while True:
            failed = self.latest is not None and self.latest.problem is not None
            self._asked.wait(min(late, self._every) if failed else self._every)
            self._asked.clear()
            if self._stopping:
                session.close()
                return
            with suppress(Empty):
                self._aside.get_nowait()(session)
            if not self._aside.empty():
                self._asked.set()
            if self._resting:
                session.close()
                continue
            self.since = time.time()
            reading = session.read()
            late = min(SLOWEST, late * 1.5) if reading.problem is not None else 1.0
            self.latest, self.since = reading, None
            self._send(reading)


def read_once(timeout: float) -> Reading:
    """The GPUs now, without a manager; ``Passing`` where NVML does not answer in time."""
    answered = threading.Event()
    found: list[Reading] = []

    def take(reading: Reading) -> None:
        found.append(reading)
        answered.set()

    watch = GpuWatch(take)
    if not watch.start():
        raise Passing("NVML was not asked: no thread is to be had")
    if not answered.wait(timeout):
        raise Passing(f"NVML did not answer within {timeout:g} s: see dmesg for a GPU that hangs")
    watch.stop()
    return found[0]
