"""The stand-in itself: ``program.py STUB_FILE WORDS…``.

It says what NVIDIA's program says, and does it to the hardware that the file describes; what it does wrong
stands beside that file.

Words from reports of users: https://github.com/NVIDIA/NVSentinel/issues/1690,
https://github.com/NVIDIA/gpu-operator/issues/118.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import NoReturn

STUB = Path(sys.argv[1])
WORDS = sys.argv[2:]
FAULTS, LOG, CLOCKS = (STUB.with_suffix(end) for end in (".faults", ".smi", ".clocks"))
IN_USE = (
    "1 device is currently being used by one or more other processes (e.g., Fabric Manager, CUDA "
    "application, graphics application such as an X server, or a monitoring application such as "
    "another instance of nvidia-smi). Please first kill all processes using this device and all "
    "compute applications running in the system."
)


def value(line: str, key: str) -> str:
    found = re.search(rf" {key}=(\S*)", line)
    return found[1] if found else ""


def end(code: int, *said: str) -> NoReturn:
    for line in said:
        print(line, flush=True)
    sys.exit(code)


class Host:
    """The hardware, as the file has it, and which GPUs are meant."""

    def __init__(self) -> None:
        self.faults = FAULTS.read_text().split() if FAULTS.exists() else []
        self.lines = STUB.read_text().splitlines()
        gpus = [line for line in self.lines if line.startswith("gpu ")]
        every = [value(line, "uuid") for line in gpus]
        self.chosen = WORDS[WORDS.index("-i") + 1].split(",") if "-i" in WORDS else every
        self.numbers = [every.index(uuid) for uuid in self.chosen if uuid in every]
        if len(self.numbers) != len(self.chosen):
            end(6, "No devices were found")
        self.bus = [f"00000000:{number + 1:02X}:00.0" for number in self.numbers]

    def write(self) -> None:
        scratch = STUB.with_suffix(".smi-new")
        scratch.write_text("\n".join(self.lines) + "\n")
        scratch.rename(STUB)

    def line(self, uuid: str) -> int:
        return next(at for at, line in enumerate(self.lines) if value(line, "uuid") == uuid)

    def set(self, uuid: str, *without: str, more: str = "") -> None:
        """A GPU's line without those keys, and with more."""
        at = self.line(uuid)
        for key in without:
            self.lines[at] = re.sub(rf" {key}=\S*", "", self.lines[at])
        self.lines[at] += more

    def split(self, uuid: str) -> bool:
        return value(self.lines[self.line(uuid)], "mig") == "1"

    def persistent(self, uuid: str) -> bool:
        mode = "0" if "no-persistence" in self.faults else "1"
        for line in CLOCKS.read_text().splitlines() if CLOCKS.exists() else []:
            if line.split()[:2] == ["persistence", uuid]:
                mode = line.split()[2]
        return mode == "1"


def persistence(host: Host) -> NoReturn:
    mode = WORDS[WORDS.index("-pm") + 1]
    if "persistence-stays" in host.faults or ("persistence-lost" in host.faults and mode == "1"):
        end(3, f"Unable to set persistence mode for GPU {host.bus[0]}: Unknown Error")
    with CLOCKS.open("a") as journal:
        journal.writelines(f"persistence {uuid} {mode}\n" for uuid in host.chosen)
    end(0, "All done.")


def mig(host: Host) -> NoReturn:
    (number,), (uuid,) = host.numbers, host.chosen
    parts = [line for line in host.lines if line.startswith(f"mig gpu={number} ")]
    if "-lgi" in WORDS or "-lci" in WORDS:
        if "unreadable" in host.faults:
            end(255, "Failed to list GPU instances: Unknown Error")
        if not host.split(uuid):
            end(6, "No MIG-enabled devices found.")
        if not parts:
            end(6, "No GPU instances found: Not Found")
        end(0, "+" + "-" * 55 + "+", *(row(number, part) for part in parts))
    if "-cgi" in WORDS:
        if "unsplit" in host.faults:
            end(19, f"Unable to create a GPU instance on GPU  {number}: Insufficient Resources")
        said = []
        for profile in WORDS[WORDS.index("-cgi") + 1].split(","):
            kind, _, start = profile.partition(":")
            name = "1g.10gb" if kind == "19" else "2g.20gb"
            of = f"uuid=MIG-again-{number}-{start} name=Stub_GPU_MIG_{name}"
            host.lines.append(f"mig gpu={number} slot={start} {of}")
            made = f"Successfully created GPU instance ID  {int(start) + 3} on GPU  {number}"
            said.append(f"{made} using profile MIG {name} (ID {kind})")
        host.write()
        end(0, *said)
    if "uncomputed" in host.faults:
        end(19, "Unable to create a compute instance: Insufficient Resources")
    instance = WORDS[WORDS.index("-gi") + 1]
    made = f"Successfully created compute instance ID  0 on GPU  {number}"
    end(0, f"{made} GPU instance ID  {instance} using profile MIG 1g.10gb (ID  0)")


def row(number: int, part: str) -> str:
    slot, name = int(value(part, "slot")), value(part, "name").rpartition("MIG_")[2]
    if "-lgi" in WORDS:
        profile = 19 if name.startswith("1g") else 14
        return f"|   {number}  MIG {name:<11} {profile:5}      {slot + 3:3}          {slot}:1     |"
    return f"|   {number}      {slot + 3:3}       MIG {name:<11}     0        0          0:1     |"


def reset(host: Host) -> NoReturn:
    if "hang" in host.faults:
        STUB.with_suffix(".hanging").write_text(str(os.getpid()))
        time.sleep(600)
    if "flood" in host.faults:
        end(1, *(["\x1b[31m" + "x" * 1000] * 2000))
    if "no-permission" in host.faults:
        end(4, f"Unable to reset GPU {host.bus[0]}: Insufficient Permissions")
    if "in-use" in host.faults or any(host.persistent(uuid) for uuid in host.chosen):
        of = f"  GPU {host.bus[0]}: In use by another client"
        end(255, "The following GPUs could not be reset:", of, "", IN_USE)
    if "unsupported" in host.faults:
        end(3, f"Resetting GPU {host.bus[0]} is not supported.")
    for uuid, number in zip(host.chosen, host.numbers, strict=True):
        gone = [] if "keeps-mig" in host.faults else [f"mig gpu={number} "]
        if "useless" not in host.faults:
            host.set(uuid, "used", "remap", "ecc")
            gone.append(f"process gpu={number} ")
        if "mig-off" in host.faults:
            host.set(uuid, "mig")
        host.lines = [line for line in host.lines if not line.startswith(tuple(gone))]
        if "lost" in host.faults:
            calls = ("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetMemoryInfo_v2")
            host.lines += [f"error {call} 15 {number}" for call in calls]
    host.write()
    end(0, *(f"GPU {one} was successfully reset." for one in host.bus), "All done.")


def main() -> NoReturn:
    with LOG.open("a") as log:
        log.write(" ".join(WORDS) + "\n")
    host = Host()
    if "--query-gpu=persistence_mode" in WORDS:
        end(0, *("Enabled" if host.persistent(uuid) else "Disabled" for uuid in host.chosen))
    if "-pm" in WORDS:
        persistence(host)
    if "--query-gpu=mig.mode.current" in WORDS:
        end(0, *("Enabled" if host.split(uuid) else "Disabled" for uuid in host.chosen))
    if "-mig" in WORDS:
        for uuid in host.chosen:
            host.set(uuid, "mig", more=" mig=1")
        host.write()
        end(0, *(f"Enabled MIG Mode for GPU {one}" for one in host.bus), "All done.")
    if "mig" in WORDS:
        mig(host)
    if "--gpu-reset" in WORDS:
        reset(host)
    end(1, f"the stand-in does not know: {' '.join(WORDS)}")


main()
