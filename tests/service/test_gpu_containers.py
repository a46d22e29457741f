"""How a lease stands in the container that the Engine is asked for, whichever way in was chosen."""

from __future__ import annotations

from typing import Any

import pytest

from mayfly.core.actions import Prepare
from mayfly.core.agent_plan import agent_plan
from mayfly.core.gate_environment import at_gate
from mayfly.core.model import Generation, HostId, Injection, PoolName, PoolSpec, SlotName, SlotSpec
from mayfly.engines.docker.container import container_config, container_plan
from mayfly.engines.docker.values import Dialect, gpus_of


def asked(lease: tuple[str, ...], way: Injection | None) -> dict[str, Any]:
    """What the Engine's API is told."""
    spec = SlotSpec(
        name=SlotName("g-0"),
        index=0,
        pool=PoolSpec(name=PoolName("g"), gpus=len(lease)),
        image="image",
        fingerprint="f",
        lease=lease,
        injection=way,
    )
    action = Prepare(Generation("g1"), spec, "g-0", "it is empty")
    plan = agent_plan(action, host=HostId("h"), witness="/w", log_max_size=1)
    made = container_plan(plan, "n", at_gate(plan.environment, plan.variables, {}))
    return container_config(made, Dialect(), {})


def variables(config: dict[str, Any]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in config["Env"])


@pytest.mark.parametrize(
    ("way", "runtime", "requests"),
    [
        (Injection("runtime", ("GPU-a",)), "nvidia", []),
        (
            Injection("cdi", ("nvidia.com/gpu=GPU-a",)),
            "runc",
            [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-a"], "Capabilities": []}],
        ),
        (
            Injection("request", ("GPU-a",)),
            "runc",
            [
                {
                    "Driver": "",
                    "DeviceIDs": ["GPU-a"],
                    "Capabilities": [["gpu", "compute", "utility"]],
                }
            ],
        ),
    ],
)
def test_each_way_in_names_the_lease_and_nothing_else(
    way: Injection, runtime: str, requests: list[dict[str, Any]]
) -> None:
    config = asked(("GPU-a",), way)
    assert config["HostConfig"]["Runtime"] == runtime
    assert config["HostConfig"]["DeviceRequests"] == requests
    assert variables(config)["NVIDIA_VISIBLE_DEVICES"] == "GPU-a"
    assert variables(config)["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_without_a_gpu_nothing_is_asked_for_and_the_variable_is_void() -> None:
    config = asked((), None)
    assert "Runtime" not in config["HostConfig"]  # the daemon's default
    assert config["HostConfig"]["DeviceRequests"] == []
    assert variables(config)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_DRIVER_CAPABILITIES" not in variables(config)


@pytest.mark.parametrize(
    ("host", "env", "expected"),
    [
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=GPU-a, 1"], ("GPU-a", "1")),
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=all"], ("all",)),
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=void"], ()),
        ({"Runtime": "runc"}, ["NVIDIA_VISIBLE_DEVICES=all"], ()),
        ({"DeviceRequests": [{"Count": -1, "DeviceIDs": None}]}, [], ("all",)),
        ({"DeviceRequests": [{"DeviceIDs": ["nvidia.com/gpu=0"]}]}, None, ("nvidia.com/gpu=0",)),
        ({}, None, ()),
    ],
)
def test_the_gpus_of_a_container_of_others_are_read_from_how_it_was_made(
    host: dict[str, Any], env: list[str] | None, expected: tuple[str, ...]
) -> None:
    assert gpus_of({"HostConfig": host, "Config": {"Env": env}}) == expected
