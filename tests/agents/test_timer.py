"""What ends a reservation's job in time, where its job has left no process to be had."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.somebody import as_somebody

LAUNCH = Path(__file__).parents[2] / "agents" / "launch.sh"
# The launcher's shell, which waits for its timer's word; after the first sleep no process is to be had.
TIMER = """
. {launch}
trap 'echo over; exit 9' WINCH
_witness={witness} _lasts=1
limit() {{ ulimit -u "$1" 2>/dev/null || ulimit -p "$1"; }}
sleep() {{ command sleep "$@" && limit 1; }}
( end_in_time ) &
while :; do wait; done
"""


@pytest.fixture
def witness() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("longer", [None, 3])
def test_the_timer_ends_the_job_also_where_no_process_is_to_be_had_for_its_second_sleep(
    witness: Path, longer: int | None
) -> None:
    if longer is not None:
        (witness / "lasts").write_text(f"{longer}\n")
    done = subprocess.run(
        "/bin/sh",
        input=TIMER.format(launch=LAUNCH, witness=witness),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=60,
        preexec_fn=as_somebody,
    )
    assert (done.stdout, done.returncode) == ("over\n", 9)
