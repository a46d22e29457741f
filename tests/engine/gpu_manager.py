"""A real manager on a host with GPUs, which NVML's stub plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.nvml import Hardware
from tests.harness import Manager

LOOK = ("doctor", "config", "reload", "init", "images", "gpus")  # the verbs that load NVML


class GpuManager(Manager):
    """A manager on a host with that hardware."""

    def __init__(
        self,
        docker_host: str,
        hardware: Hardware,
        pools: str,
        host: str = "",
        path: Path | None = None,  # further programs of the host
    ) -> None:
        self.hardware = hardware
        self._path = path
        self._looks = True
        super().__init__(docker_host, pools, host)

    def environment(self) -> dict[str, str]:
        found = super().environment()
        if self._looks:
            found |= self.hardware.environment()
        return found if self._path is None else {**found, "PATH": f"{self._path}:{found['PATH']}"}

    def cli(self, *words: str, timeout: float = 120, text: bool = True) -> Any:
        """``mayfly WORDS``; only what looks at the hardware by itself is started beside it."""
        self._looks = words[0] in LOOK
        try:
            return super().cli(*words, timeout=timeout, text=text)
        finally:
            self._looks = True

    def on_gpu(self, *command: str) -> str:
        """Submit a job to the pool with GPUs."""
        return self.queue(*command, pool="gpu")

    def output(self, job: str) -> str:
        return str(self.logs(job).stdout)

    def told(self, code: str) -> list[str]:
        """The texts of the health lines with that code."""
        lines: list[dict[str, Any]] = self.get("/v1/status")["health"]
        return [str(line["text"]) for line in lines if line["code"] == code]
