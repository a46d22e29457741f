"""The emulator of GitHub's scale sets that others wrote: started, asked, disturbed by its control paths.

    with Emulator(home) as emulator:
        job = emulator.queue(number_of_the_set)
        assert emulator.jobs()[job]["state"] == "assigned"

`scripts/scaleset-emulator` builds it and says where it is. Nothing here knows Mayfly.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
import requests

ROOT = Path(__file__).parents[3]
UNAVAILABLE = 75  # what the script ends with where a registry does not give the crate
TOKEN = "ghp_good"
LONG_POLL = 5.0  # seconds that it holds a question


def program() -> Path:
    """Built, or the test that asks is skipped and says so."""
    done = subprocess.run(
        [ROOT / "scripts/scaleset-emulator"], capture_output=True, text=True, check=False
    )
    if done.returncode == UNAVAILABLE:
        pytest.skip(f"no emulator here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


class Emulator:
    """One emulator on a port of its own."""

    def __init__(self, built: Path) -> None:
        self._built = built
        self._process: subprocess.Popen[str] | None = None
        self.place = self.url = ""

    def __enter__(self) -> Self:
        words = ("--port", "0", "--pat", TOKEN, "--long-poll-ms", str(int(LONG_POLL * 1000)))
        self._process = subprocess.Popen([self._built, *words], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.url, self.place = told["url"], told["config_url"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def port(self) -> int:
        """Where it answers."""
        return int(self.url.rsplit(":", 1)[1])

    def state(self) -> Any:
        """All that it knows."""
        return self._call("GET", "state")

    def sets(self) -> list[int]:
        """The numbers of its scale sets."""
        return [one["id"] for one in self.state()["scaleSets"]]

    def queue(self, number: int) -> int:
        """Queue a job for a set; its number."""
        return int(self._call("POST", "jobs", {"scaleSetId": number})["runnerRequestId"])

    def cancel(self, job: int) -> None:
        """Have a job end that no runner has begun."""
        self._call("POST", f"jobs/{job}/complete", {"result": "canceled"})

    def jobs(self) -> dict[int, Any]:
        """The jobs, by number."""
        return {job["id"]: job for job in self.state()["jobs"]}

    def fail(self, endpoint: str, status: int, times: int = 1) -> None:
        """Have the next calls of a kind be answered with that status."""
        fault = {"kind": "status", "status": status}
        self._call("POST", "faults", {"endpoint": endpoint, "response": fault, "times": times})

    def expire(self, what: str) -> None:
        """Have tokens or a session end: `admin-tokens`, `queue-token/SET`, `session/SET`."""
        with suppress(requests.HTTPError):  # there is none at the moment
            self._call("POST", f"expire/{what}")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        reply = requests.request(method, f"{self.url}/_emulator/{path}", json=body, timeout=20)
        reply.raise_for_status()
        return reply.json() if reply.content else None
