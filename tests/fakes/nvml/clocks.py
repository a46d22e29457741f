"""Locks and unlocks clocks as it is told on standard input, a JSON list a line; answers on standard output.

``["lock", [UUID…], MHZ, MHZ|null]`` and ``["unlock", [UUID…], DRIVER, MEMORY]``. Arguments: the path that
stands for the driver's module, and the seconds that NVML is waited for.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from mayfly.edge.faults import Fault
from mayfly.edge.gpu_clocks import GpuClocks


def main() -> None:
    clocks = GpuClocks(module=Path(sys.argv[1]), patience=float(sys.argv[2]), first_look=0.0)
    for line in sys.stdin:
        what, gpus, *more = json.loads(line)
        try:
            found = (
                clocks.lock(gpus, *more)
                if what == "lock"
                else clocks.unlock(gpus, more[0], memory=more[1])
            )
        except Fault as fault:
            print(json.dumps({"family": type(fault).__name__, "fault": str(fault)}), flush=True)
        else:
            print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
