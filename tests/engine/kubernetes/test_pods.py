"""What a pod's status means, by tables of what a real cluster said."""

from __future__ import annotations

from typing import Any

import pytest

from mayfly.core.container_labels import labels_of
from mayfly.core.model import (
    ContainerState,
    Generation,
    HostId,
    PoolName,
    PoolSpec,
    SlotName,
    SlotSpec,
)
from mayfly.core.seal import bears_its_name, looked_at
from mayfly.engines.kubernetes.pods import (
    Account,
    account_of,
    container_of,
    end_of,
    refused_by_node,
    runs,
    trouble_of,
    why_of,
)

GENERATION = Generation("0m1abcd2efgh3")
SPEC = SlotSpec(
    SlotName("gpu-0"), 0, PoolSpec(PoolName("gpu"), installation_key="key"), "image", "f"
)


def pod(status: dict[str, Any], name: str = f"gpu-0-{GENERATION}", **about: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": "u1",
            "creationTimestamp": "2026-11-28T10:00:00Z",
            "annotations": labels_of(SPEC, GENERATION, HostId("lab")),
            **about,
        },
        "spec": {"containers": [{"name": "agent", "image": "image"}]},
        "status": status,
    }


def state(**said: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "agent", "state": said}]}


RUNNING = {"phase": "Running", **state(running={"startedAt": "2026-11-28T10:00:01Z"})}
ENDED = {
    "exitCode": 5,
    "reason": "Error",
    "finishedAt": "2026-11-28T10:00:09Z",
    "message": "opened\nsignalled\nexit 5 -\n",
}
DELETED = {"deletionTimestamp": "2026-11-28T10:00:05Z"}
# pkg/controller/podgc of Kubernetes 1.37.2.
COLLECTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByPodGC",
    "message": "PodGC: node no longer exists",
}


def test_an_agents_pod_is_told_as_sealed_and_by_its_name() -> None:
    found = container_of(pod(RUNNING))
    assert found is not None
    (seen,) = looked_at("key", (found,))
    assert seen.sealed
    assert bears_its_name(seen)
    assert seen.id == f"gpu-0-{GENERATION}@u1"


def test_a_copy_of_one_bears_no_name_of_an_agent() -> None:
    found = container_of(pod(RUNNING, name="gpu-0-copy"))
    assert found is not None
    assert not bears_its_name(found)


def test_what_bears_no_labels_of_ours_is_none() -> None:
    assert container_of(pod(RUNNING, annotations={})) is None


@pytest.mark.parametrize(
    ("status", "about", "wanted"),
    [
        ({"phase": "Pending"}, {}, ContainerState.CREATED),
        ({"phase": "Pending", **state(waiting={})}, {}, ContainerState.CREATED),
        (RUNNING, {}, ContainerState.RUNNING),
        # A node that does not answer: its pod is deleted, and may run for ever.
        (RUNNING, DELETED, ContainerState.RUNNING),
        ({**RUNNING, "reason": "NodeLost"}, DELETED, ContainerState.RUNNING),
        ({"phase": "Running", **state(terminated=ENDED)}, {}, ContainerState.EXITED),
        ({"phase": "Failed", "reason": "Evicted"}, {}, ContainerState.EXITED),
        (
            {"phase": "Failed", "reason": "Evicted", **state(terminated=ENDED)},
            {},
            ContainerState.EXITED,
        ),
        # Pod GC says so of what is on a node whose object is gone, or is out of service: nobody has looked.
        (
            {**RUNNING, "phase": "Failed", "conditions": [COLLECTED]},
            DELETED,
            ContainerState.RUNNING,
        ),
        ({**RUNNING, "phase": "Failed"}, DELETED, ContainerState.RUNNING),
        (
            {"phase": "Failed", "conditions": [COLLECTED], **state(waiting={})},
            {},
            ContainerState.CREATED,
        ),
        ({"phase": "Failed", "conditions": [COLLECTED]}, {}, ContainerState.CREATED),
        (
            {"phase": "Failed", "conditions": [COLLECTED], **state(terminated=ENDED)},
            {},
            ContainerState.EXITED,
        ),
        # It was bound to no node, so that it never ran.
        ({"phase": "Failed"}, DELETED, ContainerState.EXITED),
    ],
)
def test_what_nobody_says_has_ended_has_not(
    status: dict[str, Any], about: dict[str, Any], wanted: ContainerState
) -> None:
    found = container_of(pod(status, **about))
    assert found is not None
    assert found.state is wanted
    assert runs(pod(status, **about)) is (wanted is ContainerState.RUNNING)


def test_an_end_has_its_code_its_time_and_its_launchers_account() -> None:
    end = end_of(pod({"phase": "Failed", **state(terminated=ENDED)}))
    assert end is not None
    assert (end.code, end.why, end.out_of_memory) == (5, "", False)
    assert end.at == 1795860009.0
    assert end.account == Account(opened=True, signalled=True, exit=(5, "-"))


# As a kubelet has it of an account that is longer: its last bytes. What a job's client said ends like a line
# of the launcher's.
SIGNS = tuple(f"{'x' * 290}{number:02}" for number in range(20))
REST = "".join(f"sign {sign}\n" for sign in SIGNS) + "opened\nexit 5 0\n"


@pytest.mark.parametrize("forged", ["signalled", "died 69 its GPUs do not answer"])
def test_of_a_long_account_the_last_lines_count_and_no_rest_of_one(forged: str) -> None:
    whole = REST[-(4096 - len(forged) - 8) :].partition("\n")[2]
    filling = "w" * (4096 - len(forged) - len(whole) - 7)
    message = f"{forged}\nsign {filling}\n{whole}"
    assert len(message) == 4096
    end = end_of(pod({"phase": "Failed", **state(terminated={**ENDED, "message": message})}))
    assert end is not None
    assert (end.account.signalled, end.account.died) == (False, None)
    assert end.account.exit == (5, "0")
    assert end.account.signs[-13:] == SIGNS[-13:]


@pytest.mark.parametrize(
    ("status", "about", "said"),
    [
        (
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "The node was low on resource: memory.",
            },
            {},
            "Evicted: The node was low on resource: memory.",
        ),
        (
            {
                "phase": "Failed",
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": "default-scheduler: preempting to accommodate a higher priority pod",
                    }
                ],
            },
            {},
            "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod",
        ),
        ({"phase": "Failed", **state(terminated=ENDED)}, DELETED, "its pod was deleted"),
        (
            {"phase": "Failed", "reason": "DeadlineExceeded", "message": "a\nb\x1b[0m"},
            {},
            "DeadlineExceeded: a b [0m",
        ),
        ({"phase": "Succeeded"}, {}, ""),
    ],
)
def test_what_the_cluster_did_to_it_is_told_in_its_words(
    status: dict[str, Any], about: dict[str, Any], said: str
) -> None:
    assert why_of(pod(status, **about)) == said


@pytest.mark.parametrize(
    "reason",
    ["UnexpectedAdmissionError", "OutOfnvidia.com/gpu", "OutOfcpu", "TopologyAffinityError"],
)
def test_a_pod_that_its_node_did_not_take_was_no_agent(reason: str) -> None:
    seen = pod({"phase": "Failed", "reason": reason, "message": "Allocate failed"})
    assert refused_by_node(seen) == f"{reason}: Allocate failed"


def test_a_pod_that_a_kubelet_refused_after_its_own_restart_was_no_agent() -> None:
    unfound = {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": None}
    seen = {"phase": "Failed", "reason": "UnexpectedAdmissionError", **state(terminated=unfound)}
    assert refused_by_node(pod(seen)) == "UnexpectedAdmissionError"


def test_a_pod_that_ran_was_taken() -> None:
    assert refused_by_node(pod({"phase": "Failed", "reason": "Evicted"})) is None
    ran = {"phase": "Failed", "reason": "NodeShutdown", **state(terminated=ENDED)}
    assert refused_by_node(pod(ran)) is None


@pytest.mark.parametrize(
    ("status", "text", "lasting"),
    [
        (
            state(waiting={"reason": "ErrImagePull", "message": "not found"}),
            "ErrImagePull: not found",
            True,
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                    }
                ]
            },
            "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            False,
        ),
        (state(waiting={"reason": "ContainerCreating"}), "ContainerCreating", False),
    ],
)
def test_what_keeps_a_pod_from_running(status: dict[str, Any], text: str, lasting: bool) -> None:
    found = trouble_of(pod(status))
    assert found is not None
    assert (found.text, found.lasting) == (text, lasting)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Account()),
        ("opened\n", Account(opened=True)),
        ("died 64 the frame is too large\n", Account(died=(64, "the frame is too large"))),
        (
            "sign a\nsign b\nopened\nexit 0 0\n",
            Account(opened=True, exit=(0, "0"), signs=("a", "b")),
        ),
        ("exit 0\nexit x 0\nexit 0 x\nopened!\n died 1 x\n", Account()),
    ],
)
def test_only_what_a_launcher_writes_is_an_account(text: str, wanted: Account) -> None:
    assert account_of(text) == wanted
