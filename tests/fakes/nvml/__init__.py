"""NVML without a GPU: a stub ``libnvidia-ml.so.1``, and the file that says what hardware there is.

    with Hardware(gpus=2) as hardware:
        subprocess.run([...], env=hardware.environment())
        hardware.xid(0, 79)

What a statement of the file means stands at the top of ``nvml.c``. Each change is one atomic write, which the
library sees at its next call, in whatever process.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("nvml.c")


@functools.cache
def library() -> Path:
    """The folder with the compiled library, made once for each version of its source."""
    home = Path(tempfile.gettempdir()) / f"mayfly-nvml-stub-{os.getuid()}"
    home.mkdir(exist_ok=True)
    made = home / f"{SOURCE.stat().st_mtime_ns}"
    if not (made / "libnvidia-ml.so.1").exists():
        build = Path(tempfile.mkdtemp(dir=home))
        subprocess.run(
            [
                *("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"),
                *(
                    "-Wl,-soname,libnvidia-ml.so.1",
                    "-o",
                    str(build / "libnvidia-ml.so.1"),
                    str(SOURCE),
                ),
            ],
            check=True,
        )
        try:
            build.rename(made)
        except OSError:  # another process was first
            shutil.rmtree(build)
    return made


def uuid(index: int) -> str:
    """The UUID of the GPU of that index."""
    return f"GPU-{index:08x}-1111-2222-3333-444444444444"


def mig_uuid(gpu: int, slot: int) -> str:
    """The UUID of a MIG device."""
    return f"MIG-{gpu:08x}-5555-6666-7777-{slot:012x}"


@dataclass
class Hardware:
    """The hardware of a host, as the stub shows it; a context manager that removes its file."""

    gpus: int = 1
    driver: str = "570.86.15"
    cuda: int = 12080
    appears: float | None = None  # None: the driver is there from the start
    changes: dict[int, dict[str, object]] = field(default_factory=dict)  # of a GPU's line
    lines: list[str] = field(default_factory=list)  # further statements

    def __post_init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mayfly-nvml-"))
        self.file = self.home / "driver"
        self.write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """What a process needs around it to see this hardware."""
        return {"LD_LIBRARY_PATH": str(library()), "NVML_STUB": str(self.file)}

    def write(self) -> None:
        """Let the library see what has changed here."""
        lines = [f"driver {self.driver}", f"cuda {self.cuda}"]
        if self.appears is not None:
            lines.append(f"appears {self.appears}")
        for index in range(self.gpus):
            words: dict[str, object] = {"uuid": uuid(index), "name": "Stub_GPU", "cc": "9.0"}
            words |= self.changes.get(index, {})
            lines.append("gpu " + " ".join(f"{key}={value}" for key, value in words.items()))
        scratch = self.file.with_suffix(".new")
        scratch.write_text("\n".join([*lines, *self.lines]) + "\n")
        scratch.rename(self.file)

    def gpu(self, index: int, **words: object) -> None:
        """Change a GPU: ``used``, ``util``, ``ecc``, ``remap``, ``mig``, ``cc``…"""
        self.changes.setdefault(index, {}).update(words)
        self.write()

    def memory_until(self, index: int, mib: int, seconds: float) -> None:
        """So much memory stays in use for so long, and is then returned."""
        self.gpu(index, used=f"{mib},0@{time.time() + seconds}")

    def say(self, *lines: str) -> None:
        """Add statements."""
        self.lines += lines
        self.write()

    def unsay(self, *lines: str) -> None:
        """Take statements back; one that is not there is no error."""
        self.lines = [line for line in self.lines if line not in lines]
        self.write()

    def xid(self, gpu: int, code: int) -> None:
        """The driver reports an XID."""
        self.say(f"xid gpu={gpu} code={code}")

    def process(self, gpu: int, pid: int, mib: int = 512) -> str:
        """A process computes on the GPU; returns the statement, for ``unsay``."""
        line = f"process gpu={gpu} pid={pid} memory={mib}"
        self.say(line)
        return line

    def mig(self, gpu: int, slots: int) -> None:
        """Split a GPU into so many MIG devices, in place of those it had."""
        self.lines = [line for line in self.lines if not line.startswith(f"mig gpu={gpu} ")]
        self.lines += [
            f"mig gpu={gpu} slot={slot} uuid={mig_uuid(gpu, slot)} name=Stub_GPU_MIG_1g.10gb"
            for slot in range(slots)
        ]
        self.gpu(gpu, mig=int(slots > 0))

    # -- what the health gate's checks read ------------------------------------------------------

    def health(self, gpu: int, **words: object) -> None:
        """Change what the GPU tells of its links, firmware and fabric: ``generation="1,4"``, ``replays``…"""
        line = next((one for one in self.lines if one.startswith(f"health gpu={gpu} ")), "")
        known = dict(word.split("=", 1) for word in line.split()[2:]) | words
        said = [f"{key}={value}" for key, value in known.items() if value is not None]
        self.lines = [one for one in self.lines if one != line]
        self.say(" ".join((f"health gpu={gpu}", *said)))

    def linked(self, *gpus: int) -> None:
        """GPUs with an NVLink from each to the next, and from the last to the first."""
        for one, other in zip(gpus, (*gpus[1:], gpus[0]), strict=True):
            self.say(f"nvlink gpu={one} link=0 bus=00000000:{other + 1:02X}:00.0")

    # -- clocks ---------------------------------------------------------------------------------

    @property
    def clocks_journal(self) -> Path:
        """What was done to the GPUs' clocks, a line each, in order."""
        return self.file.with_suffix(".clocks")

    def done_to_clocks(self) -> list[str]:
        """The lines of that journal."""
        return self.clocks_journal.read_text().splitlines() if self.clocks_journal.exists() else []

    def note_among_clocks(self, line: str) -> None:
        """A line of a test's own among them; ``reload``: the driver was loaded again."""
        with self.clocks_journal.open("a") as journal:
            journal.write(f"{line}\n")
