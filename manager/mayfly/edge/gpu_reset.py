"""A reset of a GPU by NVIDIA's own program, ``nvidia-smi``: NVML has no call for it.

Each run is bounded in time and output, and what does not end is killed. What holds the GPU for the driver's
own sake (persistence mode) is let go of before and taken up again afterwards, whatever came of it; MIG
devices are made again as they were. Nothing here decides whether a GPU may be reset. The program's words are
as nvidia-smi(1) and reports of its users have them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from mayfly.core.healing import ResetOutcome
from mayfly.core.plain_text import one_line, shortened

PROGRAM = "nvidia-smi"
QUICK = 30.0  # seconds that a question to the driver may take
RESET = 180.0  # seconds that a reset may
OUTPUT = 65536  # bytes that are read of each run
SAID = 300  # characters of it that are told
LINGERS = 5.0  # seconds that what was killed may take to end: longer, and the kernel holds it
_IN_USE = re.compile(r"in use by another|currently being used by|currently in use", re.IGNORECASE)
_ROW = re.compile(
    r"^\|\s*(?P<gpu>[0-9]+)\s+(?:(?P<instance>[0-9]+)\s+)?MIG\s+(?P<name>\S+)\s+"
    r"(?P<profile>[0-9]+)\s+(?P<id>[0-9]+)\s+(?P<start>[0-9]+):(?P<size>[0-9]+)\s*\|$"
)
_MADE = re.compile(r"created GPU instance ID\s+([0-9]+)", re.IGNORECASE)


class _Failed(Exception):
    """The reset, or what belongs to it, did not succeed."""

    def __init__(self, sentence: str, *, untouched: bool = False) -> None:
        super().__init__(sentence)
        self.untouched = untouched


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one run of the program said."""

    command: str
    code: int | None  # None: it did not end in time
    text: str

    @property
    def why(self) -> str:
        """What there is to tell of it."""
        if self.code is None:
            return f"`{self.command}` did not end in time"
        return f"`{self.command}` ended with {self.code}: {said(self.text) or 'it said nothing'}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One GPU instance of a split GPU."""

    id: int
    profile: int
    start: int
    name: str
    compute: tuple[int, ...] = ()  # the profiles of its compute instances, by their numbers


@dataclass(slots=True)
class Reset:
    """One reset of a GPU and those that have to be reset with it."""

    gpus: Sequence[str]  # UUIDs
    split: bool = False  # some of them have MIG devices
    quick: float = QUICK
    within: float = RESET
    _persistent: list[str] = field(default_factory=list)

    def make(self) -> ResetOutcome:
        """Make it; whatever happens, persistence mode is as it was before."""
        try:
            return ResetOutcome(detail=self._make())
        except _Failed as failed:
            return ResetOutcome(str(failed), untouched=failed.untouched)

    def _make(self) -> str:
        if shutil.which(PROGRAM) is None:
            raise _Failed(
                f"{self.gpus[0]} was not reset: {PROGRAM} is not on Mayfly's PATH: install it with the "
                "driver (nvidia-utils), then `mayfly retry`",
                untouched=True,
            )
        layouts = {gpu: self._layout(gpu) for gpu in self.gpus} if self.split else {}
        try:
            self._let_go()
            self._reset()
        finally:
            detail = self._take_up()
        for gpu, wanted in layouts.items():
            self._split(gpu, wanted)
        return detail

    # -- steps ------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        """Persistence mode counts as a client: the driver refuses to reset a GPU that has it."""
        for gpu in self.gpus:
            answer = self._ask("-i", gpu, "--query-gpu=persistence_mode", "--format=csv,noheader")
            if answer.code == 0 and answer.text.strip() == "Enabled":
                self._persistent.append(gpu)
                self._ask("-i", gpu, "-pm", "0")

    def _take_up(self) -> str:
        """Persistence mode as it was; what is to be told of it."""
        failed = [gpu for gpu in self._persistent if self._ask("-i", gpu, "-pm", "1").code != 0]
        if not failed:
            return ""
        return f"persistence mode of {failed[0]} is off: `nvidia-smi -i {failed[0]} -pm 1`"

    def _reset(self) -> None:
        gpu = self.gpus[0]
        answer = self._ask("--gpu-reset", "-i", ",".join(self.gpus), within=self.within)
        if answer.code == 0:
            return
        if answer.code is None:
            raise _Failed(
                f"the reset of {gpu} did not end in {self.within:.0f} s, and nobody knows whether it was "
                "made: see dmesg, and reboot where `nvidia-smi` hangs; then `mayfly retry`"
            )
        if _IN_USE.search(answer.text):
            raise _Failed(
                f"{gpu} was not reset: the driver says that another client uses it: stop what keeps it "
                "open (`sudo fuser -v /dev/nvidia*`: dcgm, fabric manager, a desktop), then "
                f"`mayfly gpus heal {gpu}`",
                untouched=True,
            )
        if "insufficient permissions" in answer.text.lower():
            raise _Failed(
                f"{gpu} was not reset: the driver lets only who has CAP_SYS_ADMIN: give Mayfly's unit the "
                "drop-in of docs/reference/gpu.md (Healing), then `mayfly retry`",
                untouched=True,
            )
        raise _Failed(f"{gpu} was not reset: {answer.why}: see dmesg, reboot, then `mayfly retry`")

    def _layout(self, gpu: str) -> tuple[Instance, ...]:
        """The MIG devices of the GPU, before anything is done."""
        told = f"{gpu} was not reset: how it is split could not be read"
        found = []
        for what in ("-lgi", "-lci"):
            answer = self._ask("mig", "-i", gpu, what)
            nothing = "no mig" in answer.text.lower() or "no gpu instances" in answer.text.lower()
            if answer.code != 0 and not nothing:
                raise _Failed(f"{told}: {answer.why}: then `mayfly retry`", untouched=True)
            found.append("" if nothing else answer.text)
        return layout(*found)

    def _split(self, gpu: str, wanted: tuple[Instance, ...]) -> None:
        """Make the GPU's MIG devices as they were."""
        if not wanted:
            return
        names = ", ".join(one.name for one in wanted)
        told = f"{gpu} was reset, and its MIG devices ({names}) could not be made again"
        hint = "make them by `sudo nvidia-smi mig`, then `mayfly retry`"
        if alike(layout_of(self._ask("mig", "-i", gpu, "-lgi")), wanted):
            return  # this driver has kept them
        mode = self._ask("-i", gpu, "--query-gpu=mig.mode.current", "--format=csv,noheader")
        if mode.text.strip() == "Disabled":
            enabled = self._ask("-i", gpu, "-mig", "1", within=self.within)
            if enabled.code != 0:
                raise _Failed(f"{told}: {enabled.why}: {hint}")
        profiles = ",".join(f"{one.profile}:{one.start}" for one in wanted)
        made = self._ask("mig", "-i", gpu, "-cgi", profiles)
        ids = [int(found) for found in _MADE.findall(made.text)]
        if made.code != 0 or len(ids) != len(wanted):
            raise _Failed(f"{told}: {made.why}: {hint}")
        for instance, one in zip(ids, wanted, strict=True):
            if not one.compute:
                continue
            compute = ",".join(str(profile) for profile in one.compute)
            done = self._ask("mig", "-i", gpu, "-gi", str(instance), "-cci", compute)
            if done.code != 0:
                raise _Failed(f"{told}: {done.why}: {hint}")

    # -- the program ------------------------------------------------------------------------------

    def _ask(self, *words: str, within: float | None = None) -> _Answer:
        seconds = self.quick if within is None else within
        command = " ".join((PROGRAM, *words))
        try:
            process = subprocess.Popen(
                (PROGRAM, *words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            return _Answer(command, 127, error.strerror or str(error))
        assert process.stdout is not None
        text = bytearray()
        reader = threading.Thread(target=_drain, args=(process.stdout, text), daemon=True)
        reader.start()
        code: int | None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # the kernel may hold it
                process.wait(LINGERS)
        reader.join(LINGERS)
        return _Answer(command, code, bytes(text).decode(errors="replace"))


def _drain(pipe: IO[bytes], into: bytearray) -> None:
    """Read to its end, and keep the beginning."""
    with suppress(OSError, ValueError):
        while piece := pipe.read1(4096):  # type: ignore[attr-defined]
            into += piece[: max(0, OUTPUT - len(into))]


def layout_of(answer: _Answer) -> tuple[Instance, ...]:
    """The GPU instances that it lists; none where it does not."""
    return layout(answer.text, "") if answer.code == 0 else ()


def layout(instances: str, compute: str) -> tuple[Instance, ...]:
    """The GPU instances of one GPU, in the order of their places, from what ``nvidia-smi mig -lgi`` and
    ``-lci`` print: a table with a row each.
    """
    inside: dict[int, list[tuple[int, int]]] = {}
    for row in _rows(compute):
        if row["instance"] is not None:
            inside.setdefault(int(row["instance"]), []).append(
                (int(row["start"]), int(row["profile"]))
            )
    found = [
        Instance(
            id=int(row["id"]),
            profile=int(row["profile"]),
            start=int(row["start"]),
            name=str(row["name"]),
            compute=tuple(profile for _, profile in sorted(inside.get(int(row["id"]), []))),
        )
        for row in _rows(instances)
    ]
    return tuple(sorted(found, key=lambda one: one.start))


def alike(one: Sequence[Instance], other: Sequence[Instance]) -> bool:
    """Whether two layouts have the same instances in the same places."""
    return [(a.profile, a.start) for a in one] == [(a.profile, a.start) for a in other]


def _rows(table: str) -> list[re.Match[str]]:
    lines = (line.strip() for line in table.splitlines())
    return [row for line in lines if (row := _ROW.match(line)) is not None]


def said(text: str) -> str:
    """What a program printed, in one printable line."""
    return shortened(one_line(text), SAID)
