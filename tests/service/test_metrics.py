"""Every metric that a dashboard or an alert names is served; a real one reads it."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mayfly.core.facts import AgentExited, AgentOpened
from mayfly.core.gpu_checks import CHECKS
from mayfly.core.gpu_metering import Throttle
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Condition,
    Config,
    Desired,
    Generation,
    GpuUse,
    HostSpec,
    JobId,
    Phase,
    PoolName,
    PoolSpec,
    Severity,
    SlotName,
    UseOf,
    World,
)
from mayfly.core.outcomes import Result
from mayfly.core.reservations import Reservation
from mayfly.core.slots import SlotStatus
from mayfly.edge.room import Room
from mayfly.service import status
from mayfly.service.metrics import JOB_ENDS, Metrics, Outside, serve
from tests import prometheus
from tests.core import simulator
from tests.prometheus import Prometheus, free_port
from tests.service.exposition import CONFIG, NOW, begun, queued, specs, state

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "docs/grafana"
ALERTS = (GRAFANA / "alerts.yml").read_text()
ALERTS_TEST = Path(__file__).with_name("alerts.test.yml")


def named(text: str) -> set[str]:
    return set(re.findall(r"\bmayfly_[a-z_]+", text))


@pytest.fixture
def metrics() -> Metrics:
    return begun()


def samples(metrics: Metrics) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def expressions() -> str:
    """Every expression of the dashboard and the alerts."""
    dashboard: dict[str, Any] = json.loads((GRAFANA / "mayfly.json").read_text())
    told = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    told += [str(entry["query"]) for entry in dashboard["templating"]["list"]]
    told += re.findall(r"expr: (>-\n(?: {10}.*\n)+|.*)", ALERTS)
    return "\n".join(told)


def test_every_metric_that_dashboard_or_alerts_name_is_there_before_anything_has_happened(
    metrics: Metrics,
) -> None:
    there = samples(metrics)
    assert named(expressions()) - there.keys() == set()


def test_every_metric_that_the_pages_name_is_there(metrics: Metrics) -> None:
    pages = (GRAFANA / "README.md").read_text()
    there = {name.removesuffix("_count") for name in samples(metrics)}  # also a histogram's own
    assert named(pages) - there == set()


def test_every_phase_outcome_state_and_cause_is_there_from_the_start(metrics: Metrics) -> None:
    there = samples(metrics)
    assert {row["phase"] for row in there["mayfly_slots"]} == set(Phase)
    assert {row["pool"] for row in there["mayfly_slots"]} == {"local", "forge", "gpu"}
    for slot in ("local-0", "local-1", "forge-0", "gpu-0"):
        own = [row for row in there["mayfly_agents_finished_total"] if row["slot"] == slot]
        assert {row["outcome"] for row in own} == set(Result)
        named = {"pool": slot.rpartition("-")[0], "slot": slot}
        assert named in there["mayfly_slot_vacant_seconds_total"]
        assert named in there["mayfly_slot_unready_seconds_total"]
    expired = {row["slot"] for row in there["mayfly_agents_expired_total"]}
    assert expired == {"forge-0"}  # of services alone
    ends = {(row["state"], row["cause"]) for row in there["mayfly_jobs_total"]}
    assert ends == set(JOB_ENDS)


def test_an_idle_agent_that_its_service_took_back_is_counted_and_no_other(
    metrics: Metrics,
) -> None:
    agent = Agent(
        generation=Generation("g1"),
        slot=SlotName("forge-0"),
        pool=PoolName("forge"),
        serial=1,
        fingerprint="f",
        image="i",
        lease=(),
        born=1.0,
        embedded=False,
        opened=2.0,
    )
    after = Memory({agent.generation: agent})

    def counted(outcome: Result, code: int | None, *, clean: bool) -> float:
        end = AgentExited(9.0, agent.generation, outcome, None, code, None, clean=clean)
        metrics.facts([end], after, after)
        value = metrics.registry.get_sample_value(
            "mayfly_agents_expired_total",
            {"pool": "forge", "slot": "forge-0", "provider": "github"},
        )
        assert value is not None
        return value

    assert counted(Result.JOB_DONE, 0, clean=True) == 0
    assert counted(Result.NO_JOB, 0, clean=False) == 0  # Mayfly ended it
    assert counted(Result.NO_JOB, None, clean=True) == 0  # the Engine did
    assert counted(Result.NO_JOB, 0, clean=True) == 1


def test_energy_of_jobs_is_counted_for_their_pool_and_that_of_a_shared_gpu_for_nobody() -> None:
    pool = replace(simulator.pool("p"), gpus=1)
    metrics = Metrics(Config(HostSpec("box"), (pool,)))
    agent = Agent(
        *(Generation("g1"), SlotName("p-0"), PoolName("p"), 1, "f", "i", ("GPU-1",), 1.0),
        opened=2.0,
    )
    after = Memory({agent.generation: agent})
    uses = (
        GpuUse("GPU-1", 0, None, energy=1800.0, throttled={"thermal": 4.0}),
        GpuUse("GPU-2", 0, None, energy=200.0, throttled=None),
        GpuUse("GPU-3", 0, None, energy=9999.0, throttled={"thermal": 9.0}, use_of=UseOf.SHARED),
        GpuUse("MIG-4", 0, None, use_of=UseOf.MIG),
    )
    end = AgentExited(9.0, agent.generation, Result.JOB_DONE, None, 0, None, gpus=uses)
    value = metrics.registry.get_sample_value
    assert value("mayfly_gpu_energy_joules_total", {"pool": "p"}) == 0.0
    metrics.facts([end], after, after)
    assert value("mayfly_gpu_energy_joules_total", {"pool": "p"}) == 2000.0
    seconds = {
        reason: value("mayfly_gpu_throttled_seconds_total", {"pool": "p", "reason": reason})
        for reason in Throttle
    }
    assert seconds == {reason: 4.0 * (reason is Throttle.THERMAL) for reason in Throttle}


def test_no_series_says_when_another_was_made(metrics: Metrics) -> None:
    assert [name for name in samples(metrics) if name.endswith("_created")] == []


def test_how_long_a_job_was_queued_is_counted_once_and_not_of_one_that_awaited_another() -> None:
    """A job that is run again has waited once; to wait for another job or for an hour is no queue."""
    metrics = begun()
    shell = Reservation(JobId("j4"), PoolName("local"), 1, "ann", 1, 1, NOW, 60.0, 1.0)
    jobs = (queued(1), queued(2, lost=1), queued(3, after=(JobId("j1"),)), queued(4))
    for number, job in enumerate(jobs, start=1):
        agent = Agent(
            *(Generation(f"g{number}"), SlotName("local-0"), job.pool, 1, "f", "i", (), 1.0),
            job=job.id,
        )
        before = Memory(
            {agent.generation: agent}, jobs={job.id: job}, reservations={shell.id: shell}
        )
        metrics.facts([AgentOpened(NOW, agent.generation)], before, before)
    value = metrics.registry.get_sample_value
    assert value("mayfly_job_queue_duration_seconds_count", {"pool": "local"}) == 1
    assert value("mayfly_job_queue_duration_seconds_sum", {"pool": "local"}) == 10.0


def test_what_was_known_of_a_pool_that_is_gone_is_not_told_any_more(metrics: Metrics) -> None:
    """An alert would go on for ever by what was known last."""
    metrics.use(Config(HostSpec("box"), (PoolSpec(PoolName("local"), slots=2),)))
    metrics.passed((), Memory(), World({}), NOW, 2.0, 0.01, recorded=True)
    there = samples(metrics)
    for name in (
        *("mayfly_provider_up", "mayfly_provider_orphans", "mayfly_provider_roster_age_seconds"),
        *("mayfly_jobs_queued", "mayfly_slots", "mayfly_slots_desired", "mayfly_slot_phase"),
    ):
        assert {row["pool"] for row in there.get(name, [])} <= {"local"}, name


def test_a_slot_that_is_kept_for_a_person_or_awaits_its_gpus_is_not_unready() -> None:
    """Else the alert for slots that nobody fills would fire for each job that somebody holds."""
    one, other, *_ = status.statuses(Desired(specs()), Memory(), NOW)
    kept = Agent(*(Generation("g1"), one.spec.name, one.spec.pool.name, 1, "f", "i", (), 1.0))
    vacant = replace(one, phase=Phase.VACANT, since=50.0)

    def counted(row: SlotStatus) -> list[float | None]:
        metrics = Metrics(CONFIG)
        for steady in (10.0, 15.0):
            metrics.passed([row], Memory(), World({}), NOW, steady, 0.01, recorded=True)
        labels = {"pool": "local", "slot": row.spec.name}
        names = ("mayfly_slot_unready_seconds_total", "mayfly_slot_vacant_seconds_total")
        return [metrics.registry.get_sample_value(name, labels) for name in names]

    assert counted(vacant) == [5.0, 5.0]
    assert counted(replace(vacant, phase=Phase.COOLING)) == [5.0, 5.0]
    assert counted(replace(vacant, phase=Phase.HELD, held=kept)) == [0.0, 0.0]
    assert counted(replace(vacant, since=None)) == [0.0, 0.0]
    assert counted(replace(other, phase=Phase.IDLE, agent=kept)) == [0.0, 0.0]


def test_a_slot_that_the_configuration_has_no_more_is_not_asked_for(metrics: Metrics) -> None:
    rows = status.statuses(Desired(specs()), Memory(), NOW)
    former = [replace(rows[0], configured=False), *rows[1:]]
    metrics.passed(former, Memory(), World({}), NOW, 2.0, 0.01, recorded=True)
    labels = {"pool": "local", "provider": "local"}
    assert metrics.registry.get_sample_value("mayfly_slots_desired", labels) == 1


def test_the_room_where_mayfly_writes_is_told(metrics: Metrics) -> None:
    value = metrics.registry.get_sample_value
    place = {"path": "/var/lib/mayfly"}
    assert value("mayfly_disk_free_bytes", place) == 40 * 1024**3
    assert value("mayfly_disk_size_bytes", place) == 100 * 1024**3
    assert value("mayfly_disk_free_files", place) == 900_000


def test_a_condition_is_counted_by_code_pool_and_severity_and_one_for_information_is_not(
    metrics: Metrics,
) -> None:
    slots = (SlotName("local-0"), SlotName("local-1"))
    metrics.healthy(
        (
            Condition("slot.held", Severity.ERROR, "two", "mayfly retry", PoolName("local"), slots),
            Condition("token.ends", Severity.WARNING, "soon", "# renew", PoolName("forge")),
            Condition("disk.low", Severity.ERROR, "full", "df"),
            Condition("image.old", Severity.INFO, "old", "mayfly images refresh"),
        )
    )
    shown = {
        tuple(sample.labels[name] for name in ("code", "pool", "severity")): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        if family.name == "mayfly_condition"
        for sample in family.samples
        if sample.value
    }
    assert shown == {
        ("slot.held", "local", "error"): 2,
        ("token.ends", "forge", "warning"): 1,
        ("disk.low", "", "error"): 1,
    }


HOSTILE = (
    '"} 1\nmayfly_up 0',
    "a\\",
    "\r\n# TYPE x counter",
    "\udcff",
    "\x00",
    '\\"',
    "\u2028{}",
    "",
)


@pytest.mark.parametrize("word", HOSTILE, ids=ascii)
def test_no_word_of_a_job_s_or_a_person_s_is_in_the_exposition(word: str) -> None:
    job = queued(1, name=word, owner=word, variant=word, image=word)
    slots = (replace(specs()[0], asked_image=word), *specs()[1:])
    known = replace(state(Memory(jobs={job.id: job})), desired=Desired(slots))
    assert samples(begun(known)) == samples(begun())


def told_by(word: str) -> Metrics:
    """The metrics of a manager whose Engine and NVML say that word where they can."""
    metrics = Metrics(Config(HostSpec("box"), ()))
    metrics.watch(Outside(dict, dict, lambda: ((Gpu("GPU-1", 0, name=word),), word)))
    metrics.surveyed((Room(word, 1, 2),))
    return metrics


@pytest.mark.parametrize("word", HOSTILE, ids=ascii)
def test_a_word_of_the_engine_s_or_nvml_s_stands_there_as_it_is_or_as_a_question_mark(
    word: str,
) -> None:
    there, shown = samples(told_by(word)), word.encode(errors="replace").decode()
    assert [row["path"] for row in there["mayfly_disk_free_bytes"]] == [shown]
    (gpu,) = there["mayfly_gpu_info"]
    assert (gpu["model"], gpu["driver"]) == (shown, shown)


def test_a_thousand_jobs_of_a_thousand_people_are_no_series_more() -> None:
    jobs = {
        job.id: job for job in (queued(n, name=f"n{n}", owner=f"o{n}", uid=n) for n in range(1000))
    }
    many, none = begun(state(Memory(jobs=jobs))), begun()
    assert len(many.text().splitlines()) == len(none.text().splitlines())


def test_each_help_line_is_a_sentence_and_says_the_unit_of_its_metric(metrics: Metrics) -> None:
    units = {
        "seconds": r"\b([Ss]econds|[Ww]hen|From|Length)\b",
        "bytes": r"\b(bytes|[Rr]oom|[Ss]ize|[Mm]emory)\b",
    }
    for family in metrics.registry.collect():
        assert family.documentation.endswith("."), family.name
        for unit, word in units.items():
            if family.name.endswith(f"_{unit}"):
                assert re.search(word, family.documentation), family.name


def test_names_have_base_units_and_only_counters_end_in_total(metrics: Metrics) -> None:
    for family in text_string_to_metric_families(metrics.text().decode()):
        assert not re.search(r"(milli|_ms|_minutes|_mib|percent)", family.name), family.name
        if family.type != "counter":
            assert not family.name.endswith("_total"), family.name


def test_every_panel_says_what_it_shows() -> None:
    dashboard = json.loads((GRAFANA / "mayfly.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel["description"] and panel["targets"] for panel in panels)


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of prometheus and promtool."""
    return prometheus.programs()


@pytest.mark.fetched
def test_promtool_sees_each_alert_fire_and_each_stay_silent_in_the_ordinary_turn_of_slots(
    programs: Path,
) -> None:
    done = subprocess.run(
        [programs / "promtool", "test", "rules", ALERTS_TEST],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried_both_ways_and_has_a_runbook() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS))
    ordinary, *others = re.split(r"^  - name: ", ALERTS_TEST.read_text(), flags=re.MULTILINE)[1:]
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", ordinary))
    fires = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", "".join(others)))
    assert silent == fires == alerts
    assert ALERTS.count("runbook_url:") == ALERTS.count("summary:") == len(alerts)


def test_the_page_has_each_alert_with_how_much_it_matters() -> None:
    page = (GRAFANA / "README.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE)
    rules = re.findall(r"- alert: (\w+)\n(?:.*\n)*? +severity: (\w+)", ALERTS)
    assert sorted(told) == sorted(rules)
    assert f"SUCCESS: {len(rules)} rules found" in page


TROUBLE = (ROOT / "docs/how-to/troubleshooting.md").read_text()


def test_each_runbook_is_a_section_of_the_page_on_what_may_be_wrong() -> None:
    links = re.findall(
        r"runbook_url: .*\}\}docs/how-to/troubleshooting\.md\{\{ end \}\}#(.*)'", ALERTS
    )
    ownless = [link for link in links if link != "{{ $labels.code }}"]
    assert len(links) == ALERTS.count("- alert:") > len(ownless) > 5
    assert [link for link in ownless if f'<a id="{link}"></a>' not in TROUBLE] == []


def test_each_code_of_a_gpu_check_that_the_dashboard_links_is_a_section_too() -> None:
    assert [code for code in CHECKS if f'<a id="{code}"></a>' not in TROUBLE] == []


@pytest.mark.fetched
def test_promtool_finds_no_fault_in_rules_and_exposition(metrics: Metrics, programs: Path) -> None:
    promtool = str(programs / "promtool")
    rules = [promtool, "check", "rules", str(GRAFANA / "alerts.yml")]
    checked = subprocess.run(rules, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    for text in (metrics.text(), *(told_by(word).text() for word in HOSTILE)):
        linted = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert (linted.returncode, linted.stdout, linted.stderr) == (0, b"", b"")


def fails(where: str, error: BaseException) -> None:
    """The listener has no bug."""
    raise AssertionError(where) from error


@pytest.fixture
def scraped(metrics: Metrics) -> Iterator[int]:
    port = free_port()
    stop = serve(f"127.0.0.1:{port}", metrics.text, fails)
    yield port
    stop()


def test_the_listener_serves_what_the_socket_serves_and_ends_when_told(metrics: Metrics) -> None:
    port = free_port()
    stop = serve(f"127.0.0.1:{port}", metrics.text, fails)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert named(answer.read().decode()) == named(metrics.text().decode())
    stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


@pytest.mark.fetched
def test_a_real_prometheus_scrapes_it_and_answers_from_it(
    scraped: int, tmp_path: Path, programs: Path
) -> None:
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"rule_files: [{GRAFANA}/alerts.yml]\n"
        "scrape_configs:\n"
        f"  - {{job_name: mayfly, static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]}}\n"
    )
    with Prometheus(programs, tmp_path / "prometheus.yml", tmp_path) as one:
        one.comes_to("sum(mayfly_slots_desired)", 4)
