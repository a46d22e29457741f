"""What a browser's test has before it: the manager, its hardware, and where its page is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tests.engine.gpu_manager import GpuManager
from tests.fakes.nvml import Hardware

HEADER = "X-Remote-User"


@dataclass
class LabPage:
    """A lab's box with a page."""

    manager: GpuManager
    hardware: Hardware
    address: str

    def busy(self) -> list[str]:
        """The ids of jobs that make the box look like one at work: two that run on GPUs, three that wait, one
        that has failed; and a process on a GPU that is not ours.
        """
        failed = self.manager.submit(
            "sh", "-c", "echo no data; exit 3", options=("--pool", "cpu", "--name", "fetch")
        )
        self.manager.ended(failed)
        line = r'printf "step %d \033[32mloss\033[0m 0.%d\n" $i $((900-i))'
        told = f"i=0; while :; do i=$((i+1)); {line}; sleep 0.5; done"
        jobs = [
            self.manager.submit("sh", "-c", told, options=("--pool", "gpu", "--name", f"train-{n}"))
            for n in range(5)
        ]
        for job in jobs[:2]:
            self.manager.started(job)
        for gpu in range(2):
            self.hardware.gpu(gpu, used=61000 + 7000 * gpu, util=93 - 20 * gpu)
            self.hardware.say(f"clocks gpu={gpu} temperature={61 + gpu}")
        self.hardware.process(1, os.getpid())
        return [failed, *jobs]
