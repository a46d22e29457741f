"""A slot's surroundings: what `mayfly shell` and the doctor's canary find there is what a job finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.harness import NETWORKED, Manager

POOL = """
[[pool]]
name = "local"
provider = "local"
slots = 1
env = {{ COLOUR = "blue" }}
[pool.limits]
memory = "256MiB"
[[pool.dataset]]
source = "{data}"
target = "/datasets/answers"
env = "DATA"
"""


def test_a_shell_sees_what_a_job_sees_and_the_slot_is_given_back(
    make: Callable[..., Manager], tmp_path: Path
) -> None:
    (tmp_path / "answer").write_text("42\n")
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE----- of the lab\n")
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    more = f'ca = "{tmp_path}/ca.pem"\ngroups = ["audio"]\nenv ='
    manager = make(POOL.format(data=tmp_path).replace("env =", more, 1))
    manager.start()
    script = 'hostname; echo $COLOUR; cat "$DATA/answer"; touch "$DATA/x" || echo ro; '
    script += 'tail -n 1 "$SSL_CERT_FILE"; grep -c BEGIN "$SSL_CERT_FILE"; '
    script += (
        "id; umask; pwd; grep -E '^(Cap|NoNew)' /proc/self/status; env -u MAYFLY_JOB | sort; exit 7"
    )
    job = manager.cli("submit", "--wait", "--", "sh", "-c", script)
    done = manager.cli("shell", "local-0", "--", "sh", "-c", script)
    assert done.stdout.splitlines() == job.stdout.splitlines(), done.stderr
    seen = done.stdout.splitlines()
    assert seen[:5] == ["local-0", "blue", "42", "ro", "-----BEGIN CERTIFICATE----- of the lab"]
    assert int(seen[5]) > 1  # beside what the image trusts
    assert done.returncode == job.returncode == 7
    assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
    assert manager.slot()["cordoned"] is None
    assert manager.containers() == ["local-0"]
    assert "local-0-shell" not in manager.docker("ps", "-a", "--format", "{{.Names}}")


def test_a_canary_goes_all_the_way_and_the_doctor_says_so(make: Callable[..., Manager]) -> None:
    manager = make(NETWORKED)
    manager.start()
    done = manager.cli("doctor", "--json", "--canary", "local-0")
    rows = {row["code"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["agent.canary"]["state"] == "ok", rows["agent.canary"]
    assert rows["manager.health"]["state"] == "ok"
    assert rows["agent.metadata"]["state"] == "ok"
    manager.in_phase("idle")
    assert manager.containers() == ["local-0"]
