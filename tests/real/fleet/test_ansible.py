"""The playbook of fleet/ansible, by a real Ansible over ssh on two boxes with a real systemd.

The tests follow each other on the same boxes, in the order of a fleet's life.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.harness import until
from tests.real.fleet.ansible import ROOT, program
from tests.real.fleet.conftest import NEWER, Fleet
from tests.source import RELEASED
from tests.systemd.box import Box

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
NOTE = "ansible: upgrade"
WRONG = '{"mayfly_config": "[[pool]]\\nname = \\"local\\"\\nslotz = 2\\n"}'


def slots(box: Box) -> dict[str, object]:
    """What each slot is cordoned with."""
    return {row["slot"]: row["cordoned"] for row in box.json("/v1/status")["slots"]}


def config(box: Box) -> str:
    return box.must("cat /etc/mayfly/config.toml")


def test_the_linter_finds_nothing() -> None:
    programs = program()
    if programs is None:
        pytest.skip("Ansible is not here: scripts/ansible fetches it")
    found = subprocess.run(
        ["ansible-lint", "--offline", "--strict", "--profile", "production"],
        cwd=ROOT / "fleet/ansible",
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_boxes_are_set_up_from_nothing_and_run_jobs(fleet: Fleet) -> None:
    done = fleet.desk.play()
    assert done.code == 0, done.said
    for name, box in fleet.boxes.items():
        assert done.of(name)["changed"] > 0
        assert box.must("mayfly --version") == f"mayfly {RELEASED}"
        assert box.must("mayfly submit --wait -- sh -c 'echo hello from $(hostname)'").startswith(
            "hello from local-"
        )
    assert len(slots(fleet.boxes["gpu1"])) == 2
    assert len(slots(fleet.boxes["gpu2"])) == 1, "what host_vars says of this box alone"
    images = [box.engine.docker("images", "-q", "mayfly/local:cpu") for box in fleet.boxes.values()]
    assert len(set(images)) == 2, "the box without the image has built one"


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    pids = {name: box.pid() for name, box in fleet.boxes.items()}
    for more in ((), ("--check", "--diff")):
        done = fleet.desk.play(*more)
        assert done.code == 0, done.said
        assert {name: done.of(name)["changed"] for name in fleet.boxes} == {"gpu1": 0, "gpu2": 0}
    assert {name: box.pid() for name, box in fleet.boxes.items()} == pids


def test_a_group_that_somebody_took_away_is_made_again_and_told_as_a_change(fleet: Fleet) -> None:
    box = fleet.boxes["gpu2"]
    box.must("groupdel mayfly-users")
    done = fleet.desk.play("--limit", "gpu2")
    assert (done.code, done.of("gpu2")["changed"]) == (0, 2), (
        done.said
    )  # the group, and the restart
    box.must("getent group mayfly-users")


def test_a_mistake_is_not_put_in_place_and_the_next_box_is_left_alone(fleet: Fleet) -> None:
    before = config(fleet.boxes["gpu1"])
    done = fleet.desk.play("-e", WRONG)
    assert done.code != 0
    assert "slotz" in done.said
    assert config(fleet.boxes["gpu1"]) == before
    assert done.of("gpu2") == {}
    assert len(slots(fleet.boxes["gpu1"])) == 2


def test_a_drop_in_that_the_manager_refuses_fails_the_run_each_time(fleet: Fleet) -> None:
    box = fleet.boxes["gpu1"]
    wrong = "/etc/mayfly/conf.d/20-wrong.toml"
    box.must(f"printf '[[pool]]\\nslotz = 2\\n' >{wrong}")
    for _ in range(2):
        done = fleet.desk.play("--limit", "gpu1")
        assert done.code != 0
        assert "slotz" in done.said
    box.must(f"rm {wrong}")
    assert fleet.desk.play("--limit", "gpu1").code == 0


def test_a_changed_pool_is_reloaded_and_a_running_job_goes_on(fleet: Fleet) -> None:
    box = fleet.boxes["gpu1"]
    pid, job = box.pid(), box.running("echo done")
    done = fleet.desk.play("--limit", "gpu1", "-e", '{"mayfly_local_slots": 3}')
    assert done.code == 0, done.said
    assert len(slots(box)) == 3
    assert box.pid() == pid, "a reload is no restart"
    assert box.let_go(job)["state"] == "succeeded"
    assert fleet.desk.play("--limit", "gpu1").code == 0
    assert len(slots(box)) == 2


def test_a_key_that_a_reload_does_not_reach_has_the_manager_restarted(fleet: Fleet) -> None:
    box = fleet.boxes["gpu1"]
    pid = box.pid()
    changed = config(box).replace("127.0.0.1:9925", "127.0.0.1:9926") + "\n"
    done = fleet.desk.play("--limit", "gpu1", "-e", json.dumps({"mayfly_config": changed}))
    assert done.code == 0, done.said
    assert box.pid() != pid
    assert fleet.desk.play("--limit", "gpu1").code == 0


def test_a_secret_comes_from_a_vault_and_is_handed_over_by_systemd(fleet: Fleet) -> None:
    desk, box = fleet.desk, fleet.boxes["gpu1"]
    (desk.home / "pass").write_text("horse\n")
    vault = desk.home / "group_vars/mayfly/vault.yml"
    vault.write_text("mayfly_credentials:\n  gitlab-token: hunter2hunter2\n")
    sealed = desk.run("ansible-vault", "encrypt", "--vault-password-file", "pass", str(vault))
    assert sealed.code == 0, sealed.said
    words = ("--limit", "gpu1", "--vault-password-file", "pass")
    done = desk.play(*words, "--diff", "-vv")
    assert done.code == 0, done.said
    assert "hunter2" not in done.said
    place = "/etc/mayfly/credentials/gitlab-token"
    assert box.must(f"stat -c '%a %U' {place}") == "600 root"
    assert box.must(f"cat {place}") == "hunter2hunter2"
    assert box.must("cat /run/credentials/mayfly.service/gitlab-token") == "hunter2hunter2"
    assert desk.play(*words).of("gpu1")["changed"] == 0
    vault.unlink()


def test_an_upgrade_that_jobs_hold_up_for_too_long_changes_nothing(fleet: Fleet) -> None:
    box = fleet.boxes["gpu1"]
    job = box.running("echo done")
    done = fleet.desk.play("-e", f"mayfly_wheel={fleet.newer}", "-e", "mayfly_drain_timeout=1s")
    assert done.code != 0
    assert "keeps its version" in done.said
    assert box.must("mayfly --version") == f"mayfly {RELEASED}"
    assert all(cordoned is None for cordoned in slots(box).values())
    assert done.of("gpu2") == {}
    assert box.let_go(job)["state"] == "succeeded"


def test_an_upgrade_lets_jobs_end_box_by_box_and_fills_what_it_has_emptied(fleet: Fleet) -> None:
    box, other = fleet.boxes["gpu1"], fleet.boxes["gpu2"]
    job = box.running("echo done")
    at = str(box.job(job)["slot"])
    idle = next(name for name in slots(box) if name != at)
    box.must(f"mayfly cordon {idle} --note 'new fan'")
    with fleet.desk.playing("-e", f"mayfly_wheel={fleet.newer}") as process:

        def drained() -> bool:
            cordoned = slots(box)[at]
            return isinstance(cordoned, dict) and cordoned["note"] == NOTE

        until(drained, "the slot with the job is drained")
        assert process.poll() is None
        assert other.must("mayfly --version") == f"mayfly {RELEASED}"
        assert box.let_go(job)["state"] == "succeeded"
        said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    for one in fleet.boxes.values():
        assert one.must("mayfly --version") == f"mayfly {NEWER}"
        assert one.json("/v1/version")["version"] == NEWER, "what runs is the new one"
    assert slots(box)[at] is None
    kept = slots(box)[idle]
    assert isinstance(kept, dict)
    assert kept["note"] == "new fan", "what somebody has cordoned stays so"
    box.must(f"mayfly uncordon {idle}")
    assert fleet.desk.play("-e", f"mayfly_wheel={fleet.newer}").of("gpu1")["changed"] == 0


def test_one_prometheus_has_the_metrics_of_every_box_by_tunnels_that_lead_nowhere_else(
    fleet: Fleet,
) -> None:
    box, central = fleet.boxes["gpu1"], fleet.boxes["gpu2"]
    central.must("install -d -m 700 /etc/mayfly-metrics")
    central.must("ssh-keygen -q -t ed25519 -N '' -f /etc/mayfly-metrics/key")
    fleet.desk.has(mayfly_metrics_key=central.must("cat /etc/mayfly-metrics/key.pub"))
    done = fleet.desk.play("-e", f"mayfly_wheel={fleet.newer}")
    assert done.code == 0, done.said
    known = f"{box.address()} {box.must('cat /etc/ssh/ssh_host_ed25519_key.pub')}"
    assert central.sh("cat >/etc/mayfly-metrics/known_hosts", known).returncode == 0
    central.must(f"printf 'PORT=19001\\nADDRESS={box.address()}\\n' >/etc/mayfly-metrics/gpu1")
    for name in ("mayfly-metrics@.service", "prometheus.yml", "mayfly-boxes.yml"):
        shutil.copy(ROOT / "fleet/prometheus" / name, fleet.place)
    shutil.copy(ROOT / "docs/grafana/alerts.yml", fleet.place / "mayfly-alerts.yml")
    central.must("install -m 644 mayfly-metrics@.service /etc/systemd/system/")
    central.must("systemctl daemon-reload && systemctl enable --now mayfly-metrics@gpu1")

    # The one that has Prometheus has no tunnel to itself.
    central.must(
        "sed -i s/19002/9925/ mayfly-boxes.yml && "
        "sed -i '1i global: {scrape_interval: 1s, evaluation_interval: 1s}' prometheus.yml"
    )
    shutil.copy(fleet.prometheus, fleet.place / "prometheus-program")
    central.must(
        "systemd-run --unit central -p WorkingDirectory=$PWD $PWD/prometheus-program "
        "--config.file=prometheus.yml --storage.tsdb.path=/tmp/tsdb"
    )

    def asked(query: str) -> dict[str, str]:
        """What a query gives of each box."""
        look = f"from urllib.request import urlopen as o; print(o('http://127.0.0.1:9090/api/v1/query?query={query}').read().decode())"
        done = central.sh(f'python3 -c "{look}"')
        if done.returncode != 0:
            return {}
        rows = json.loads(done.stdout)["data"]["result"]
        return {row["metric"]["instance"]: row["value"][1] for row in rows}

    up = "up%7Bjob=%27mayfly%27%7D"
    until(lambda: asked(up) == {"gpu1": "1", "gpu2": "1"}, "both boxes are scraped")
    until(
        lambda: asked("count%20by%20(instance)(mayfly_cordoned)") == {"gpu1": "2", "gpu2": "1"},
        "each box's slots are there under its name",
    )
    box.must("systemctl stop mayfly")
    until(lambda: asked(up) == {"gpu1": "0", "gpu2": "1"}, "the box without a manager is missed")
    until(lambda: "gpu1" in asked("ALERTS%7Balertname=%27MayflyDown%27%7D"), "and an alert is due")
    box.must("systemctl start mayfly")
    until(lambda: asked(up)["gpu1"] == "1", "it is scraped again")

    assert_leads_nowhere_else(central, f"mayfly-metrics@{box.address()}")


SAYS = """
import socket, sys
one = socket.socket(socket.AF_UNIX)
one.settimeout(20)
one.connect(sys.argv[1])
try:
    one.sendall(b"GET /v1/metrics HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
    print(len(one.recv(100)))
except ConnectionError:
    print(0)
"""


def assert_leads_nowhere_else(central: Box, account: str) -> None:
    """The key of the metrics runs nothing, and reaches no other port, no socket, and no listener."""
    place = "/etc/mayfly-metrics"
    ssh = f"ssh -o BatchMode=yes -o UserKnownHostsFile={place}/known_hosts -i {place}/key"
    assert central.sh("cat >/tmp/says.py", SAYS).returncode == 0
    answers = {}
    for number, where in enumerate(
        (
            "127.0.0.1:9925",
            "127.0.0.1:22",
            "/run/mayfly/control.sock",
            "/run/dbus/system_bus_socket",
        )
    ):
        central.must(f"{ssh} -f -N -L /tmp/there-{number}:{where} {account} >/dev/null 2>&1")
        answers[where] = central.must(f"python3 /tmp/says.py /tmp/there-{number}")
    assert answers.pop("127.0.0.1:9925") != "0", "the way that it is for"
    assert set(answers.values()) == {"0"}, answers
    assert "uid=" not in central.sh(f"{ssh} {account} id").stdout
    listens = central.sh(f"{ssh} -N -o ExitOnForwardFailure=yes -R 19005:127.0.0.1:9925 {account}")
    assert listens.returncode == 255, listens
