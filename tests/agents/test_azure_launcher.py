"""The launcher of provider `azure` with the stub agent in a real container: config, run, codes, secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mayfly.core.model import Generation
from mayfly.core.outcomes import End, Result
from mayfly.edge.witness import Witnesses
from mayfly.providers.azure.lines import judge
from tests.agents.container import Agent, archive, frame
from tests.engine.private_engine import PrivateEngine
from tests.fakes.azure import DT, FakeAzure
from tests.fakes.http import Fault
from tests.images import stub_image

pytestmark = pytest.mark.engine
NAME = "box-az-0"
AGENTS = f"{DT}/pools/2/agents"
Until = Callable[..., Any]


@pytest.fixture(scope="session")
def image(worker_engine: PrivateEngine) -> str:
    tag = stub_image("azure")
    worker_engine.fetch(tag)
    return tag


@pytest.fixture
def fake(worker_engine: PrivateEngine) -> Iterator[FakeAzure]:
    with FakeAzure() as service:
        service.start_on(worker_engine.listen(service.port))
        service.hold = 3.0
        yield service


@pytest.fixture
def gate(start: Callable[..., Agent], image: str) -> Callable[..., Agent]:
    """`gate(**variables)`: an agent at its gate, in its Engine's network."""

    def at_gate(**variables: str) -> Agent:
        environment = {"STUB_PACE": "20", **variables}
        return start(image=image, network_mode="host", environment=environment)

    return at_gate


def files(fake: FakeAzure, **other: str) -> dict[str, bytes]:
    """What the manager sends."""
    said = {
        "url": fake.organisation,
        "pool": "gpu",
        "agent": NAME,
        "limit": "60",
        "capabilities": "MAYFLY_ID=0123/az\nMAYFLY_AGENT=g1\ngpu\ncuda=12.8",
        "token": "pat-good",
        **other,
    }
    return {name: f"{text}\n".encode() for name, text in said.items()}


def enter(agent: Agent, fake: FakeAzure, **other: str) -> None:
    agent.open(files(fake, **other))


def outcome(agent: Agent, code: int) -> tuple[Result, str]:
    """What the provider makes of the witness."""
    told = Witnesses(agent.witness.parents[1]).read(Generation(agent.witness.name))
    assert told is not None
    assert told.exit is not None
    assert told.exit.code == code
    found = judge(End(committed=True, opened=True, exit=told.exit), told.signs)
    return found.result, found.detail


def listening(agent: Agent, fake: FakeAzure, until: Until) -> None:
    until(lambda: fake.sessions and "Listening for Jobs" in agent.raw().decode(), 60)


def test_an_agent_registers_runs_one_job_and_ends(
    gate: Callable[..., Agent], fake: FakeAzure, until: Until
) -> None:
    agent = gate()
    enter(agent, fake)
    listening(agent, fake, until)
    assert fake.names() == [NAME]
    job = fake.queue("echo hello; id -un", "build $(it)")
    assert agent.wait(60) == 0
    assert job.result == "succeeded"
    assert job.log == "hello\nrunner\n"
    assert job.logs[0] == "", "nothing is said of its machine that nobody asked for"
    assert outcome(agent, 0) == (Result.JOB_DONE, "Succeeded")
    assert fake.sessions == {}
    assert "Running job: build $(it)" in agent.output()


def test_a_job_that_fails_is_told_by_its_line_and_not_by_the_exit_code(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    agent = gate()
    fake.configure(NAME, {})
    job = fake.queue("exit 3", "completed with result: Succeeded")
    enter(agent, fake)
    assert agent.wait(60) == 0
    assert job.result == "failed"
    assert outcome(agent, 0) == (Result.JOB_DONE, "Failed")


def test_the_service_is_told_of_no_variable_but_those_that_were_chosen(
    gate: Callable[..., Agent], fake: FakeAzure, until: Until
) -> None:
    agent = gate(IMAGENET_DIR="/data", HF_TOKEN_HINT="x y", SECOND="2")
    enter(agent, fake, capabilities="MAYFLY_ID=0123/az\ngpu\ncuda=12.8\nMy.Label=a b\nIMAGENET_DIR")
    listening(agent, fake, until)
    shown = {
        name: value
        for name, value in fake.entry(NAME).capabilities.items()
        if not name.startswith("Agent.") and name not in ("git", "bash", "curl")
    }
    assert shown == {
        "MAYFLY_ID": "0123/az",
        "gpu": "1",
        "cuda": "12.8",
        "My.Label": "a b",
        "IMAGENET_DIR": "/data",
    }


def test_a_step_dies_of_a_full_memory_before_the_agent_that_reports_it(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    agent = gate()
    fake.configure(NAME, {})
    script = (
        "cat /proc/self/oom_score_adj; "
        "for p in /proc/[0-9]*; do read -r line <$p/comm; "
        '[ "$line" != Agent.Listener ] || cat $p/oom_score_adj; done'
    )
    job = fake.queue(script)
    enter(agent, fake)
    assert agent.wait(60) == 0
    assert job.log.split() == ["1000", "500"]


def test_the_listener_speaks_one_language_wherever_it_runs(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    agent = gate(LANG="de_DE.UTF-8", LC_ALL="de_DE.UTF-8")
    fake.configure(NAME, {})
    job = fake.queue("echo $LANG $LC_ALL")
    enter(agent, fake)
    assert agent.wait(60) == 0
    assert job.log == "C.UTF-8 C.UTF-8\n"


HUNT = r"""
look() { grep -rlsa -e "pat-g[o]od" "$@" 2>/dev/null; }
look /opt/azure-agent /home /tmp /var/tmp /run /dev/shm /etc /var/log
for p in /proc/[0-9]*; do
  look $p/environ $p/cmdline
  for f in $p/fd/*; do
    # A file that was deleted and is still open would be found here; a pipe would only hold us up.
    [ ! -f $f ] || look $f
  done
done
env | grep "pat-g[o]od"
echo hunted; ls -a /run/mayfly /run/mayfly/in /run/mayfly/w 2>&1 | head -3; ls _diag ../../../_diag
cat /opt/azure-agent/.credentials
"""


def test_a_job_finds_no_token_anywhere(gate: Callable[..., Agent], fake: FakeAzure) -> None:
    agent = gate()
    fake.configure(NAME, {})
    job = fake.queue(HUNT)
    enter(agent, fake)
    assert agent.wait(90) == 0
    before, _, after = job.log.partition("hunted")
    assert before == ""
    assert "pat-good" not in after
    assert '"scheme":"OAuth"' in after
    assert "pat-good" not in agent.raw(stderr=True).decode()
    assert "Agent_stub.log" not in after, "the log of config is still there"


def test_a_service_that_gives_no_key_is_refused_before_a_job_can_see_the_token(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    fake.keyless = True
    agent = gate()
    enter(agent, fake)
    assert agent.wait(60) == 76
    assert "no key of its own" in agent.output()
    assert not fake.sessions


def test_a_replacement_that_fails_is_not_tried_for_ever(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    fake.configure(NAME, {})
    fake.fail("PUT", AGENTS, Fault(status=403, times=None))
    agent = gate()
    enter(agent, fake)
    assert agent.wait(60) == 76
    result, detail = outcome(agent, 76)
    assert result is Result.DIED_YOUNG
    assert "could not take the slot's entry" in detail


def test_a_config_that_hangs_is_stopped_at_its_limit(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    fake.fail("GET", f"{DT}/pools", Fault(slow=30, times=None))
    agent = gate()
    enter(agent, fake, limit="2")
    assert agent.wait(60) == 75
    assert outcome(agent, 75)[0] is Result.DIED_YOUNG
    assert "config did not end within 2 s" in agent.output()


def test_a_wrong_pool_and_a_wrong_token_are_told(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    first, second = gate(), gate()
    enter(first, fake, pool="nowhere")
    enter(second, fake, token="pat-bad")
    assert first.wait(60) == second.wait(60) == 76
    assert "check `agent_pool`" in outcome(first, 76)[1]
    assert "the token is wrong or has expired" in outcome(second, 76)[1]


def test_an_update_ends_the_agent_and_no_second_one_runs_in_its_container(
    gate: Callable[..., Agent], fake: FakeAzure, until: Until
) -> None:
    agent = gate()
    enter(agent, fake)
    listening(agent, fake, until)
    fake.refresh(NAME)
    assert agent.wait(60) == 4
    assert outcome(agent, 4)[0] is Result.IMAGE_TOO_OLD
    assert agent.output().count("Listening for Jobs") == 1


def test_an_update_during_a_job_waits_for_it_and_takes_no_second(
    gate: Callable[..., Agent], fake: FakeAzure, until: Until
) -> None:
    agent = gate()
    fake.configure(NAME, {})
    first = fake.queue("until [ -e /tmp/go ]; do sleep 0.1; done")
    enter(agent, fake)
    until(lambda: first.begun_by, 60)
    fake.refresh(NAME)
    until(lambda: "Waiting for current job" in agent.raw().decode(), 60)
    second = fake.queue("true")
    agent.root("touch", "/tmp/go")
    assert agent.wait(60) == 4
    assert first.result == "succeeded"
    assert second.result is None
    assert outcome(agent, 4) == (Result.IMAGE_TOO_OLD, outcome(agent, 4)[1])


@pytest.mark.parametrize("busy", [False, True])
def test_an_interrupt_ends_an_idle_agent_in_order_and_cancels_a_job(
    gate: Callable[..., Agent], fake: FakeAzure, until: Until, *, busy: bool
) -> None:
    agent = gate()
    enter(agent, fake)
    listening(agent, fake, until)
    if busy:
        job = fake.queue("sleep 1000")
        until(lambda: job.begun_by, 60)
    agent.signal("INT")
    assert agent.wait(60) == 0
    assert fake.sessions == {}
    if busy:
        assert job.result == "canceled"


def test_a_second_agent_of_a_name_gives_up_while_the_first_has_its_session(
    gate: Callable[..., Agent], fake: FakeAzure, until: Until
) -> None:
    agent = gate(STUB_PACE="300")
    enter(agent, fake)
    listening(agent, fake, until)
    second = gate(STUB_PACE="300")
    enter(second, fake)
    assert second.wait(60) == 1
    result, detail = outcome(second, 1)
    assert result is Result.DIED_YOUNG
    assert "kept its session" in detail


def test_a_frame_without_a_token_runs_nothing(gate: Callable[..., Agent], fake: FakeAzure) -> None:
    agent = gate()
    sent = files(fake)
    del sent["token"]
    agent.send(frame(agent.generation, archive(sent)))
    assert agent.wait(30) == 65
    assert fake.calls == []


def test_everything_that_a_job_reads_is_this_agents_alone(
    gate: Callable[..., Agent], fake: FakeAzure
) -> None:
    """Its three files tell of one entry; none of another slot's is there."""
    agent = gate()
    fake.configure(NAME, {})
    job = fake.queue("cat /opt/azure-agent/.agent; ls -A /opt/azure-agent")
    enter(agent, fake)
    assert agent.wait(60) == 0
    assert re.findall(r'"agentName":"([^"]*)"', job.log) == [NAME]
    assert fake.entry(NAME).keys == 2
