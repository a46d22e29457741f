"""A bug report is written whatever is broken, for its owner's eyes alone, and without secrets."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

CONFIG = """
[host]
name = "box"
docker_host = "unix:///nowhere/docker.sock"
state_dir = "{home}/state"
socket = "{home}/control.sock"
[[pool]]
name = "p"
provider = "local"
env = {{ LICENCE = "hunter2" }}
"""


def test_without_manager_and_engine_it_says_what_it_could_not_learn(tmp_path: Path) -> None:
    config, file = tmp_path / "config.toml", tmp_path / "report.json"
    config.write_text(CONFIG.format(home=tmp_path))
    command = [sys.executable, "-m", "mayfly.cli.app", "bugreport"]
    done = subprocess.run(
        [*command, "--output", str(file), "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not in it: manager, status, events, recording; the file says why" in done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert "hunter2" not in text
    document = json.loads(text)
    assert document["schema"] == "mayfly.bugreport/1"
    assert document["versions"]["mayfly"]
    assert "unknown" not in document["config"]
    assert "unknown" not in document["doctor"]
    assert "unknown" in document["recording"]


def test_a_file_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(home=tmp_path))
    command = [sys.executable, "-m", "mayfly.cli.app", "bugreport", "--config", str(config)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "none/report.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
