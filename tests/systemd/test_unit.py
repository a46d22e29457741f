"""The real unit under a real systemd: start, reload, stop, crash, watchdog, upgrade, with jobs running."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine, why_not
from tests.fakes.github import FakeGitHub
from tests.harness import until
from tests.images import stub_image, stub_tag
from tests.providers.github_pool import BRIDGE
from tests.source import RELEASED, be_archive_of, source
from tests.systemd.box import ROOT, Box, make_image, make_wheels, plain

pytestmark = [pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(1200)]
NEWER = "99.0.0"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box on which the four steps were done."""
    if (why := why_not() or make_image()) is not None:
        pytest.skip(why)
    wheels = tmp_path_factory.mktemp("wheels")
    tag = stub_image("github")
    with source() as own:
        make_wheels(own, wheels)
    with source() as checkout, PrivateEngine() as engine, Box(engine, checkout, wheels) as made:
        engine.fetch(tag)
        # Nothing is fetched where the Engine is: a base that has all the packages already.
        engine.docker("tag", "mayfly/local:cpu", "debian:bookworm-slim")
        _prepare(made)
        _install(made)
        yield made


def _prepare(box: Box) -> None:
    """What differs from a host of its own: the Engine sees this box's files elsewhere than under /var/lib."""
    box.must("mkdir -p /etc/mayfly/conf.d /etc/systemd/system/mayfly.service.d")
    box.must("mkdir -p /etc/systemd/system/mayfly-gateway.service.d")
    box.must(
        f"printf '[Service]\\nReadWritePaths={box.home}\\n' "
        ">/etc/systemd/system/mayfly-gateway.service.d/box.conf"
    )
    box.must(
        f"printf '[host]\\nstate_dir = \"{box.home}/state\"\\n' >/etc/mayfly/conf.d/10-box.toml"
    )
    box.must(
        "printf '[Service]\\n"
        f"ReadWritePaths={box.home}\\nWatchdogSec=15\\nTimeoutAbortSec=2\\nRestartSec=1\\n' "
        ">/etc/systemd/system/mayfly.service.d/box.conf"
    )


UV = "env UV_TOOL_DIR=/opt/uv UV_TOOL_BIN_DIR=/usr/local/bin uv tool"
WHEEL = "dist/mayfly_ci-*.whl"


def _install(box: Box) -> None:
    """Each way that the page has, one after the other; that of uv stays."""
    box.show("make wheel")
    box.show("python3 -m venv /opt/mayfly")
    box.show(f"/opt/mayfly/bin/pip install {WHEEL}")
    box.show("ln -s /opt/mayfly/bin/mayfly /usr/local/bin/mayfly")
    assert box.must("mayfly --version") == f"mayfly {RELEASED}"
    box.must("rm -r /usr/local/bin/mayfly /opt/mayfly")
    pipx = "env PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx"
    box.show(f"{pipx} install {WHEEL}")
    assert box.must("mayfly --version") == f"mayfly {RELEASED}"
    box.must(f"{pipx} uninstall mayfly-ci && ! test -e /usr/local/bin/mayfly")
    box.must("python3 -m venv /opt/tools && /opt/tools/bin/pip install -q uv")
    box.must("ln -s /opt/tools/bin/uv /usr/bin/uv")
    box.show(f"{UV} install ./{WHEEL}")
    assert box.must("mayfly --version") == f"mayfly {RELEASED}"
    box.show("mayfly install")  # what the page has of it by hand
    box.must("mayfly install --uninstall && rm -f /etc/mayfly/config.example.toml")
    box.show("mayfly init --provider local --slots 2 --canary")
    box.show("mayfly doctor")
    box.show("systemctl enable --now mayfly")
    box.show("mayfly wait --for idle --timeout 60s")
    box.show("mayfly status")


def test_the_four_steps_fill_the_pool_and_the_first_job_runs(box: Box) -> None:
    assert {slot["phase"] for slot in box.json("/v1/status")["slots"]} == {"idle"}
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
    assert float(found.group(1)) <= 2.0


def test_the_group_may_use_the_socket_and_nobody_may_enter_the_state(box: Box) -> None:
    assert box.must("stat -c '%a %U:%G' /run/mayfly/control.sock") == "660 root:mayfly"
    assert box.must(f"stat -c '%a %U' {box.home}/state") == "700 root"
    box.must("useradd alice")
    box.show("usermod --append --groups mayfly alice")
    box.must("runuser -u alice -- mayfly status")


def test_who_is_of_the_other_group_submits_reads_and_ends_what_is_theirs(box: Box) -> None:
    box.must("useradd --groups mayfly-users bob && useradd carol")
    as_bob = "runuser -u bob -- mayfly"
    box.must(f"{as_bob} status")
    assert box.must(f"{as_bob} submit --wait -- echo mine") == "mine"
    own, other = box.must(f"{as_bob} submit -- sleep 600"), box.running("echo theirs")
    assert {row["job"]: row["owner"] for row in box.json("/v1/jobs")["jobs"]}[own] == "bob"
    for words in (f"cancel {other}", f"logs {other}", "cordon --all", "drain --all", "pause"):
        done = box.sh(f"{as_bob} {words}")
        assert done.returncode == 1, (words, done.stdout, done.stderr)
        assert "bob" in done.stderr, words
    box.must(f"{as_bob} cancel {own}")
    assert box.ended(own)["state"] == "cancelled"
    assert box.sh("runuser -u carol -- mayfly status").returncode == 1, "who is of neither group"
    box.must(f"mayfly cancel {other}")
    assert box.ended(other)["state"] == "cancelled"


def test_events_are_found_in_the_journal_by_their_fields(box: Box) -> None:
    said = box.must(
        "journalctl MAYFLY_SLOT=local-0 MAYFLY_EVENT=agent.created -o json --no-pager -n 1"
    )
    entry = json.loads(said)
    for what in ("-u mayfly", "MAYFLY_SLOT=local-0", "MAYFLY_EVENT=agent.exited -o json"):
        assert "mayfly" in box.show(f"journalctl --no-pager {what}")
    assert entry["SYSLOG_IDENTIFIER"] == "mayfly"
    assert entry["MESSAGE"].startswith("local-0: agent.created")
    assert entry["_SYSTEMD_UNIT"] == "mayfly.service"


def test_a_stop_leaves_the_job_running_and_the_next_start_adopts_it(box: Box) -> None:
    job = box.running("echo done")
    box.show("systemctl stop mayfly")
    assert box.sh("mayfly status").returncode == 3
    assert len(box.engine.docker("ps", "-q").split()) >= 2
    box.show("systemctl start mayfly")
    assert box.let_go(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "done"


def test_a_crash_costs_no_job_and_systemd_starts_the_manager_again(box: Box) -> None:
    job = box.running("echo survived")
    before = box.pid()
    box.must(f"kill -KILL {before}")
    until(lambda: not box.runs(before), "it is gone")
    until(box.pid, "systemd starts it again")
    assert box.let_go(job)["state"] == "succeeded"


def test_a_manager_that_hangs_is_bitten_and_its_job_goes_on(box: Box) -> None:
    job = box.running("echo bitten")
    before = box.pid()
    box.must(f"kill -STOP {before}")
    until(lambda: not box.runs(before), "the watchdog bites")
    until(box.pid, "systemd starts it again")
    assert (
        "watchdog" in box.must("journalctl --no-pager -u mayfly -g 'Watchdog timeout' -n 1").lower()
    )
    assert box.let_go(job)["state"] == "succeeded"


def test_a_reload_replaces_idle_agents_and_systemd_knows_when_it_is_done(box: Box) -> None:
    box.must("mayfly wait --for idle --timeout 60s")
    before = {slot["agent"] for slot in box.json("/v1/status")["slots"]}
    job = box.running("echo $COLOUR.")
    blue = '[[pool]]\\nname = "local"\\nenv = { COLOUR = "blue" }\\n'
    box.must(f"printf '{blue}' >/etc/mayfly/conf.d/20-blue.toml")
    box.show("mayfly reload --dry-run")
    box.show("systemctl reload mayfly")
    assert box.let_go(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "."
    until(
        lambda: not before & {slot["agent"] for slot in box.json("/v1/status")["slots"]},
        "all are replaced",
    )
    assert box.must("mayfly submit --wait -- sh -c 'echo $COLOUR'") == "blue"
    assert box.must("systemctl is-active mayfly") == "active"


def test_a_file_with_a_mistake_is_told_and_the_old_one_stays_in_force(box: Box) -> None:
    box.must("printf '[host]\\nslotz = 3\\n' >/etc/mayfly/conf.d/30-wrong.toml")
    assert box.sh("systemctl reload mayfly").returncode != 0  # whoever typed it hears of it, too
    until(
        lambda: "config.rejected" in {line["code"] for line in box.json("/v1/status")["health"]},
        "status tells of it",
    )
    assert box.must("mayfly submit --wait -- echo still") == "still"
    box.must("rm /etc/mayfly/conf.d/30-wrong.toml && systemctl reload mayfly")
    until(
        lambda: (
            "config.rejected" not in {line["code"] for line in box.json("/v1/status")["health"]}
        ),
        "it is told no more",
    )


def test_a_new_image_is_rolled_one_idle_slot_at_a_time(box: Box) -> None:
    box.must("mayfly wait --for idle --timeout 60s")
    before = _images(box)
    job = box.running("echo old")
    box.show("mayfly images build cpu")

    def rolled() -> bool:
        slots = {slot["phase"]: slot["container"] for slot in box.json("/v1/status")["slots"]}
        return slots.keys() == {"busy", "idle"} and not _images(box, slots["idle"]) <= before

    until(rolled, "the idle agent is of the new image")
    box.show("mayfly status")
    assert box.let_go(job)["state"] == "succeeded"
    box.show("mayfly wait --for idle --timeout 60s")
    until(
        lambda: not _images(box) & before and len(_images(box)) == 1,
        "every agent is of the new image",
    )
    box.must("mayfly wait --for idle --timeout 60s")


def _images(box: Box, container: str = "") -> set[str]:
    """Those of the container, or of all of ours."""
    ids = (
        [container]
        if container
        else box.engine.docker("ps", "-q", "--filter", "label=io.mayfly.slot").split()
    )
    if not ids:
        return set()
    # One that goes between the two looks is left out.
    shown = box.engine.docker("inspect", "--format", "{{.Image}}", *ids, check=False)
    return set(shown.split())


def test_an_upgrade_with_a_job_running_costs_nothing(box: Box) -> None:
    box.must("mayfly wait --for idle --timeout 60s")
    before = {slot["agent"] for slot in box.json("/v1/status")["slots"]}
    be_archive_of(box.checkout, NEWER)
    box.must("make wheel")
    job = box.running("echo upgraded")
    box.show(f"{UV} install --reinstall {WHEEL}")
    box.show("mayfly install")
    box.show("systemctl restart mayfly")
    assert box.must("mayfly --version") == f"mayfly {NEWER}"
    assert box.let_go(job)["state"] == "succeeded"
    assert box.must(f"mayfly logs {job}") == "upgraded"
    until(
        lambda: not before & {slot["agent"] for slot in box.json("/v1/status")["slots"]},
        "agents of the version before are replaced",
    )
    box.must("mayfly wait --for idle --timeout 60s")


def test_the_gateway_runs_beside_the_manager_and_each_outlives_the_others_end(box: Box) -> None:
    asked = "systemctl show -p MainPID --value"
    before = box.must(f"{asked} mayfly-gateway")
    assert before != "0", box.must("journalctl --no-pager -u mayfly-gateway")
    health = f"{box.home}/state/gateway/control.sock"
    box.must(
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); "
        f's.connect("{health}"); s.sendall(b"GET /v1/health HTTP/1.1\\r\\nHost: g\\r\\n\\r\\n"); '
        'assert b"version" in s.recv(4096)\''
    )
    box.must("systemctl restart mayfly")
    assert box.must(f"{asked} mayfly-gateway") == before
    manager = box.pid()
    box.must("systemctl kill -s KILL mayfly-gateway")
    until(
        lambda: box.must(f"{asked} mayfly-gateway") not in (before, "0"), "systemd starts it again"
    )
    assert box.pid() == manager
    box.must("mayfly wait --for idle --timeout 60s")


def test_a_token_is_handed_over_by_systemd_and_seen_by_nobody_else(box: Box) -> None:
    with FakeGitHub() as fake:
        # The manager is in the box, its agents beside their own Engine.
        fake.start_on(socket.create_server((BRIDGE, fake.port)))
        fake.start_on(box.engine.listen(fake.port, "0.0.0.0"))
        fake.agents_url = f"http://{BRIDGE}:{fake.port}"
        _write(
            box,
            "/etc/mayfly/conf.d/40-gh.toml",
            '[[pool]]\nname = "gh"\nprovider = "github"\nslots = 1\n'
            f'image = "{stub_tag("github")}"\nagent_pool = "gpu"\ncalls_per_hour = 36000\n'
            "plain_http = true\n"
            f'url = "http://{BRIDGE}:{fake.port}/acme"\ntoken = {{ credential = "github-token" }}\n'
            '[pool.env]\nSTUB_PACE = "20"\n',
        )
        box.must("mayfly reload")
        told = until(lambda: box.slot("gh-0")["note"], "the pool has no token yet")
        assert "github-token" in told
        box.show(
            "install -m 600 /dev/stdin /etc/mayfly/credentials/github-token", typed="ghp_good\n"
        )
        # What `systemctl edit mayfly` writes.
        _write(
            box,
            "/etc/systemd/system/mayfly.service.d/override.conf",
            "[Service]\nLoadCredential=github-token:/etc/mayfly/credentials/github-token\n",
        )
        box.must("systemctl daemon-reload")
        box.show("systemctl restart mayfly")
        box.must("mayfly wait --for idle --timeout 90s")
        assert box.slot("gh-0")["confirmed_by"] == "roster"
        rows = json.loads(box.sh("mayfly doctor --json").stdout)["checks"]
        found = {row["code"]: row for row in rows}
        assert found["config.secrets"]["state"] == "ok", found["config.secrets"]
        assert found["service.allows"]["state"] == "ok", found["service.allows"]
        pid = box.pid()
        for place in (f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"):
            assert "ghp_good" not in box.must(f"tr '\\0' '\\n' <{place}")
        assert "CREDENTIALS_DIRECTORY=/run/credentials/mayfly.service" in box.must(
            f"tr '\\0' '\\n' </proc/{pid}/environ"
        )
        assert "ghp_good" not in box.must("journalctl --no-pager -u mayfly")
        box.must("mayfly drain gh-0 --wait --timeout 60s")
        box.must("rm /etc/mayfly/conf.d/40-gh.toml && mayfly reload")


def _write(box: Box, path: str, text: str) -> None:
    box.must(f"mkdir -p {path.rpartition('/')[0]} && cat >{path} <<'END'\n{text}END")


def _busy(box: Box) -> list[dict[str, Any]]:
    return [row for row in box.json("/v1/status")["slots"] if row["phase"] == "busy"]


def test_an_engine_restart_is_survived(box: Box) -> None:
    job = box.running("echo on")
    # An Engine 20.10 that is told to end in the middle of making a network does not start again.
    until(
        lambda: {(row["standby"] or {}).get("phase") for row in _busy(box)} == {"armed"},
        "the standby is armed",
    )
    box.engine.restart()
    assert box.let_go(job)["state"] == "succeeded"
    box.must("mayfly wait --for idle --timeout 60s")


def test_drained_stopped_and_uninstalled_it_leaves_config_and_state_alone(box: Box) -> None:
    box.show("mayfly drain --all --wait --timeout 60s")
    assert box.engine.docker("ps", "-aq") == ""
    box.show("systemctl disable --now mayfly")
    box.show("mayfly install --uninstall")
    box.show(f"{UV} uninstall mayfly-ci")
    assert box.sh("systemctl cat mayfly").returncode != 0
    assert box.sh("mayfly --version").returncode != 0
    box.must("test -f /etc/mayfly/config.toml")
    box.must(f"test -d {box.home}/state")


def test_four_lines_lead_from_nothing_to_a_job_of_a_service(box: Box) -> None:
    """Installed, asked, a token pasted, a job: on a host that has nothing of Mayfly, under systemd, timed."""
    drop_ins = "/etc/systemd/system/mayfly.service.d"
    if box.sh("mayfly --version").returncode == 0:  # no test before has taken it away
        box.must("mayfly drain --all --wait --timeout 60s && systemctl disable --now mayfly")
        box.must(f"mayfly install --uninstall && {UV} uninstall mayfly-ci")
    box.must(f"rm -rf /etc/mayfly {drop_ins} {box.home}/state")
    _prepare(box)
    with FakeGitHub() as fake:
        fake.start_on(socket.create_server((BRIDGE, fake.port)))
        fake.start_on(box.engine.listen(fake.port, "0.0.0.0"))
        fake.agents_url = f"http://{BRIDGE}:{fake.port}"
        box.engine.docker("tag", stub_tag("github"), "mayfly/github:cpu")
        place = f"http://{BRIDGE}:{fake.port}/acme"
        hello = "on: workflow_dispatch\njobs:\n  hello:\n    runs-on: [self-hosted, github]\n"
        fake.workflows["acme/app"] = {"hello.yml": hello}
        lines = (
            (f"{UV} install {WHEEL}", ""),
            # On a terminal: service, address, token, the second runner group, a name, one slot, a job.
            (
                "script -qec 'mayfly init --plain-http' /dev/null",
                f"github\n{place}\nghp_good\n2\n\n1\n1\n",
            ),
            ("mayfly status", ""),
        )
        took = []
        for line, typed in lines:
            began = time.monotonic()
            done = box.sh(line, typed)
            assert done.returncode == 0, (line, done.stdout, done.stderr, box.journal())
            took.append(f"{time.monotonic() - began:.1f} s  {line}")
            if typed:
                told = " ".join(done.stdout.split())
                assert "job hello ran on github-0 in" in told, told
                assert "ended as success: http" in told, told
        assert "github-0" in done.stdout
        began = time.monotonic()
        job = fake.queue("echo hello", ("self-hosted", "github"))
        until(lambda: job.state == "completed", "the job runs")
        took.append(f"{time.monotonic() - began:.1f} s  the job")
        print(*took, sep="\n")
        assert job.conclusion == "succeeded"
        assert box.must("stat -c '%a %U' /etc/mayfly/credentials/github-token") == "600 root"
        assert "LoadCredential=github-token:/etc/mayfly/credentials/github-token" in box.must(
            f"cat {drop_ins}/credential-github-token.conf"
        )
        assert "ghp_good" not in box.must("cat /etc/mayfly/config.toml; journalctl -u mayfly")
        again = (
            "mayfly init --provider github --plain-http --url "
            + place
            + " --agent-pool gpu --slots 1 --credential github-token"
        )
        pid = box.pid()
        box.must(again)
        assert box.pid() == pid, "what is in force already costs no restart"
        # As after an interruption between writing and starting: systemd has not handed that over.
        box.must("touch /etc/mayfly/credentials/github-token")
        box.must(again)
        assert box.pid() != pid
        box.must("mayfly drain --all --wait --timeout 90s && systemctl disable --now mayfly")


def test_the_how_to_types_what_was_typed_here_and_shows_what_appeared(box: Box) -> None:
    """Runs last: every command of the page was typed in this box, and printed what the page shows of it."""
    said = "\n".join(f"$ {command}\n{output}\n" for command, output in box.typed)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build/install-transcript.txt").write_text(said)
    outputs: dict[str, list[set[str]]] = {}
    for command, output in box.typed:
        seen = {plain(line) for line in output.splitlines()}
        outputs.setdefault(command, []).append(seen)
    blocks = _blocks((ROOT / "docs/how-to/install.md").read_text())
    assert len(blocks) > 15
    for command, lines in blocks:
        assert command in outputs, f"{command} was not typed"
        shown = {plain(line) for line in lines if line != "…"}
        assert any(shown <= output for output in outputs[command]), (command, lines)


def _blocks(page: str) -> list[tuple[str, list[str]]]:
    """Each command of the page, without sudo, with the lines that it shows under it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ ").removeprefix("sudo "), []))
            else:
                found[-1][1].append(line)
    return found
