"""The real unit under a real systemd: start, reload, stop, crash, watchdog, upgrade, with jobs running."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine, sweep_up, why_not
from tests.harness import until
from tests.systemd.box import ROOT, Box, make_image, make_newer, make_wheels

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]
NEWER = "99.0.0"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box on which the four steps were done."""
    if (why := why_not() or make_image()) is not None:
        pytest.skip(why)
    wheels = tmp_path_factory.mktemp("wheels")
    make_wheels(wheels)
    sweep_up()
    with PrivateEngine() as engine, Box(engine, wheels) as made:
        _prepare(made)
        _install(made)
        yield made


def _prepare(box: Box) -> None:
    """What differs from a host of its own: the Engine sees this box's files elsewhere than under /var/lib."""
    box.must("mkdir -p /etc/mayfly/conf.d /etc/systemd/system/mayfly.service.d")
    box.must(
        f"printf '[host]\\nstate_dir = \"{box.home}/state\"\\n' >/etc/mayfly/conf.d/10-box.toml"
    )
    box.must(
        "printf '[Service]\\n"
        f"ReadWritePaths={box.home}\\nWatchdogSec=15\\nTimeoutAbortSec=2\\nRestartSec=1\\n' "
        ">/etc/systemd/system/mayfly.service.d/box.conf"
    )


def _install(box: Box) -> None:
    box.must("python3 -m venv /opt/mayfly")
    box.must("/opt/mayfly/bin/pip install -q --no-index --find-links /wheels mayfly-ci")
    box.must("ln -s /opt/mayfly/bin/mayfly /usr/local/bin/mayfly")
    box.show("mayfly install")
    box.show("mayfly init --provider local --slots 2")
    box.show("mayfly doctor")
    box.show("systemctl enable --now mayfly")
    box.show("mayfly wait --for idle --timeout 60s")
    box.show("mayfly status")


def test_the_four_steps_fill_the_pool_and_the_first_job_runs(box: Box) -> None:
    assert {slot["phase"] for slot in box.json("status")["slots"]} == {"idle"}
    assert "hello from local-" in box.show(
        "mayfly submit --wait -- sh -c 'echo hello from $(hostname)'"
    )
    assert "active" in box.must("systemctl is-active mayfly")
    assert "2 slots" in box.must("systemctl show mayfly --property=StatusText --value")


def test_systemd_finds_nothing_to_complain_of_in_the_unit(box: Box) -> None:
    done = box.sh("systemd-analyze verify mayfly.service")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    said = box.must("systemd-analyze security --no-pager mayfly.service")
    found = re.search(r"Overall exposure level for mayfly.service: ([0-9.]+)", said)
    assert found is not None
    assert float(found.group(1)) <= 3.0


def test_the_group_may_use_the_socket_and_nobody_may_enter_the_state(box: Box) -> None:
    assert box.must("stat -c '%a %U:%G' /run/mayfly/control.sock") == "660 root:mayfly"
    assert box.must(f"stat -c '%a %U' {box.home}/state") == "700 root"
    box.must("useradd --groups mayfly alice")
    box.must("runuser -u alice -- mayfly status")


def test_events_are_found_in_the_journal_by_their_fields(box: Box) -> None:
    said = box.must(
        "journalctl MAYFLY_SLOT=local-0 MAYFLY_EVENT=agent.created -o json --no-pager -n 1"
    )
    entry = json.loads(said)
    assert entry["SYSLOG_IDENTIFIER"] == "mayfly"
    assert entry["MESSAGE"].startswith("local-0: agent.created")
    assert entry["_SYSTEMD_UNIT"] == "mayfly.service"


def test_a_stop_leaves_the_job_running_and_the_next_start_adopts_it(box: Box) -> None:
    job = box.running("sleep 8; echo done")
    box.show("systemctl stop mayfly")
    assert box.sh("mayfly status").returncode == 3
    assert len(box.engine.docker("ps", "-q").split()) >= 2
    box.show("systemctl start mayfly")
    assert box.ended(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "done"


def test_a_crash_costs_no_job_and_systemd_starts_the_manager_again(box: Box) -> None:
    job = box.running("sleep 8; echo survived")
    before = box.pid()
    box.must(f"kill -KILL {before}")
    until(lambda: box.pid() not in (0, before), "systemd starts it again")
    assert box.ended(job)["state"] == "succeeded"


def test_a_manager_that_hangs_is_bitten_and_its_job_goes_on(box: Box) -> None:
    job = box.running("sleep 25; echo bitten")
    before = box.pid()
    box.must(f"kill -STOP {before}")
    until(lambda: box.pid() not in (0, before), "the watchdog bites")
    assert (
        "watchdog" in box.must("journalctl --no-pager -u mayfly -g 'Watchdog timeout' -n 1").lower()
    )
    assert box.ended(job)["state"] == "succeeded"


def test_a_reload_replaces_idle_agents_and_systemd_knows_when_it_is_done(box: Box) -> None:
    box.must("mayfly wait --for idle --timeout 60s")
    before = {slot["agent"] for slot in box.json("status")["slots"]}
    job = box.running("sleep 6; echo $COLOUR.")
    blue = '[[pool]]\\nname = "local"\\nenv = { COLOUR = "blue" }\\n'
    box.must(f"printf '{blue}' >/etc/mayfly/conf.d/20-blue.toml")
    box.show("mayfly reload --dry-run")
    box.show("systemctl reload mayfly")
    assert box.ended(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "."
    until(
        lambda: not before & {slot["agent"] for slot in box.json("status")["slots"]},
        "all are replaced",
    )
    assert box.must("mayfly submit --wait -- sh -c 'echo $COLOUR'") == "blue"
    assert box.must("systemctl is-active mayfly") == "active"


def test_a_file_with_a_mistake_is_told_and_the_old_one_stays_in_force(box: Box) -> None:
    box.must("printf '[host]\\nslotz = 3\\n' >/etc/mayfly/conf.d/30-wrong.toml")
    box.sh("systemctl reload mayfly")
    until(
        lambda: "config.rejected" in {line["code"] for line in box.json("status")["health"]},
        "status tells of it",
    )
    assert box.must("mayfly submit --wait -- echo still") == "still"
    box.must("rm /etc/mayfly/conf.d/30-wrong.toml && systemctl reload mayfly")
    until(
        lambda: "config.rejected" not in {line["code"] for line in box.json("status")["health"]},
        "it is told no more",
    )


def test_a_new_image_is_rolled_one_idle_slot_at_a_time(box: Box) -> None:
    box.must("mayfly wait --for idle --timeout 60s")
    before = _images(box)
    job = box.running("sleep 6; echo old")
    box.engine.docker("tag", "mayfly/local:cpu", "mayfly/local:before")
    cid = box.engine.docker("create", "mayfly/local:before")
    box.engine.docker("commit", "--change", "LABEL rolled=1", cid, "mayfly/local:cpu")
    box.engine.docker("rm", cid)
    assert box.ended(job)["state"] == "succeeded"
    until(
        lambda: not _images(box) & before and len(_images(box)) == 1,
        "every agent is of the new image",
    )
    box.must("mayfly wait --for idle --timeout 60s")


def _images(box: Box) -> set[str]:
    ids = box.engine.docker("ps", "-q", "--filter", "label=io.mayfly.slot").split()
    return (
        set(box.engine.docker("inspect", "--format", "{{.Image}}", *ids).split()) if ids else set()
    )


def test_an_upgrade_with_a_job_running_costs_nothing(box: Box, tmp_path: Path) -> None:
    box.must("mayfly wait --for idle --timeout 60s")
    before = {slot["agent"] for slot in box.json("status")["slots"]}
    newer = box.home / "newer"
    newer.mkdir()
    make_newer(newer, NEWER)
    job = box.running("sleep 12; echo upgraded")
    box.must(f"/opt/mayfly/bin/pip install -q --no-index --no-deps --upgrade {newer}/*.whl")
    box.show("mayfly install")
    box.show("systemctl restart mayfly")
    assert box.must("mayfly --version") == f"mayfly {NEWER}"
    assert box.ended(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "upgraded"
    until(
        lambda: not before & {slot["agent"] for slot in box.json("status")["slots"]},
        "agents of the version before are replaced",
    )
    box.must("mayfly wait --for idle --timeout 60s")


def test_an_engine_restart_is_survived(box: Box) -> None:
    job = box.running("sleep 8; echo on")
    box.engine.restart()
    assert box.ended(job)["state"] == "succeeded"
    box.must("mayfly wait --for idle --timeout 60s")


def test_drained_stopped_and_uninstalled_it_leaves_config_and_state_alone(box: Box) -> None:
    box.show("mayfly drain --all --wait --timeout 60s")
    assert box.engine.docker("ps", "-aq") == ""
    box.show("systemctl disable --now mayfly")
    box.show("mayfly install --uninstall")
    assert box.sh("systemctl cat mayfly").returncode != 0
    box.must("test -f /etc/mayfly/config.toml")
    box.must(f"test -d {box.home}/state")


def test_the_how_to_types_what_was_typed_here(box: Box) -> None:
    """Runs last: every command of the page, but for how the package gets there, was typed in this box."""
    said = "\n".join(f"$ {command}\n{output}\n" for command, output in box.typed)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build/install-transcript.txt").write_text(said)
    typed = {command for command, _ in box.typed}
    page = (ROOT / "docs/how-to/install.md").read_text()
    commands = re.findall(r"^\$ (?:sudo )?(mayfly .*|systemctl .*)$", page, re.MULTILINE)
    assert commands
    assert [command for command in commands if command not in typed] == []
