"""What Mayfly has run in an agent goes by nothing that the agent says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mayfly.core.bare_command import SEARCHED, bare


def test_it_has_a_search_path_of_its_own_and_no_other_variable(tmp_path: Path) -> None:
    led = tmp_path / "env"
    led.write_text("#!/bin/sh\necho led\n")
    led.chmod(0o755)
    around = {**os.environ, "PATH": f"{tmp_path}:/usr/bin", "BASH_ENV": str(led), "FOO": "1"}
    said = subprocess.run(bare(("env",)), env=around, capture_output=True, check=True, text=True)
    assert said.stdout == f"PATH={SEARCHED}\n"


def test_the_gate_has_the_same_search_path() -> None:
    gate = Path(__file__).parents[2] / "agents/gate"
    assert f"\nPATH={SEARCHED}\n" in gate.read_text()
