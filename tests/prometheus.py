"""A real Prometheus, Debian's: started on a free port, and asked by its API."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

from tests.harness import until
from tests.pages import ROOT


def programs() -> Path:
    """The folder of prometheus and promtool; the test is skipped where they cannot be had."""
    found = subprocess.run(
        [ROOT / "scripts/prometheus"], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        pytest.skip(f"Prometheus is missing: {found.stderr}")
    return Path(found.stdout.strip())


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Prometheus:
    """One that reads ``config``; a context manager that ends it."""

    def __init__(self, folder: Path, config: Path, home: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = home / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    folder / "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={home}/prometheus",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def reload(self) -> None:
        """Have it read its files again, as ``systemctl reload`` does; one that starts would end by that."""
        until(lambda: self.get("status/runtimeinfo"), "Prometheus answers")
        self._process.send_signal(signal.SIGHUP)

    def get(self, path: str, **query: str) -> Any:
        """What its API answers: ``data``; None while it does not answer; AssertionError where it refuses."""
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            if error.code == 503:  # it is not ready yet
                return None
            raise AssertionError(f"{query}: {error.code} {told}") from error
        except OSError:
            return None

    def series(self, expression: str) -> list[dict[str, Any]] | None:
        """What the expression comes to now: a list of series, or None while Prometheus does not answer."""
        data = self.get("query", query=expression)
        if data is None:
            return None
        assert data["resultType"] == "vector", data
        found: list[dict[str, Any]] = data["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The value of the one series that it comes to; None while it comes to none."""
        found = self.series(expression)
        return float(found[0]["value"][1]) if found else None

    def comes_to(self, expression: str, value: float) -> None:
        """Wait until it does."""
        until(lambda: self.value(expression) == value, f"{expression} comes to {value}")

    def firing(self, alert: str) -> list[dict[str, Any]]:
        """The alerts of that name that fire now."""
        data = self.get("alerts")
        rows: list[dict[str, Any]] = data["alerts"] if data is not None else []
        return [
            row for row in rows if row["labels"]["alertname"] == alert and row["state"] == "firing"
        ]
