"""A stand-in for ``nvidia-smi``, as far as a reset of a GPU goes, on the hardware of NVML's stub.

with Hardware(gpus=2) as hardware:
    smi = NvidiaSmi(hardware)
    smi.faults("in-use")            # what it refuses, or does wrong, from now on
    subprocess.run([smi.folder / "nvidia-smi", "--gpu-reset", "-i", uuid(0)], …)
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fakes.nvml import Hardware

PROGRAM = Path(__file__).with_name("program.py")


class NvidiaSmi:
    """The program in a folder of its own, for the PATH of whoever is to find it."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self.folder = hardware.home / "smi"
        self.folder.mkdir()
        program = self.folder / "nvidia-smi"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {PROGRAM} {hardware.file} "$@"\n')
        program.chmod(0o755)

    def faults(self, *words: str) -> None:
        """What it does wrong from now on."""
        self.hardware.file.with_suffix(".faults").write_text(" ".join(words))

    @property
    def asked(self) -> list[str]:
        """What it was asked, in order."""
        log = self.hardware.file.with_suffix(".smi")
        return log.read_text().splitlines() if log.exists() else []

    @property
    def resets(self) -> list[str]:
        """Those of them that were for a reset."""
        return [line for line in self.asked if "--gpu-reset" in line]

    @property
    def hanging(self) -> int | None:
        """The number of the process that hangs; ``None``: none has."""
        told = self.hardware.file.with_suffix(".hanging")
        return int(told.read_text()) if told.exists() else None
