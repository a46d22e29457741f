"""What is made of an Engine's own account: whether it can keep network namespaces, and if not, why."""

from __future__ import annotations

from typing import Any

import pytest

from mayfly.engines.docker.about import engine_facts

VERSION = {"Version": "28.5.2", "ApiVersion": "1.51"}


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({}, ""),
        ({"DefaultRuntime": "runc"}, ""),
        ({"DefaultRuntime": "nvidia-cdi"}, ""),
        ({"DefaultRuntime": "nvidia-legacy"}, ""),
        ({"DefaultRuntime": "ours", "Runtimes": {"ours": {"path": "/opt/ours/runc"}}}, ""),
        (
            {"DefaultRuntime": "gpu", "Runtimes": {"gpu": {"path": "nvidia-container-runtime"}}},
            "",
        ),
        (
            {"DefaultRuntime": "ours", "Runtimes": {"ours": {"path": "/usr/bin/runsc"}}},
            'its default runtime "ours" may have a network stack of its own',
        ),
        (
            {"DefaultRuntime": "kata"},
            'its default runtime "kata" may have a network stack of its own',
        ),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "it is rootless"),
    ],
)
def test_a_default_runtime_on_the_kernels_network_keeps_networks_and_another_is_named(
    info: dict[str, Any], why: str
) -> None:
    can = engine_facts(VERSION, info, ()).capabilities
    assert (can.sandbox, can.unkept) == (not why, why)


@pytest.mark.parametrize(
    ("release", "options", "why"),
    [
        ("20.10.24+dfsg1", [], "this Engine is 20.10; containers need 26 or newer"),
        ("25.0.5", [], "this Engine is 25.0; containers need 26 or newer"),
        ("26.1.5", [], ""),
        ("28.5.2", ["name=seccomp,profile=builtin"], ""),
        ("28.5.2", ["name=rootless"], "this Engine is rootless"),
        ("28.5.2", ["name=userns"], "this Engine remaps users"),
    ],
)
def test_which_engines_let_agents_have_containers(
    release: str, options: list[str], why: str
) -> None:
    info = {"SecurityOptions": options}
    can = engine_facts({"Version": release, "ApiVersion": "1.41"}, info, ()).capabilities
    assert can.gateway is not bool(why)
    assert can.no_gateway.startswith(why)


@pytest.mark.parametrize(
    ("pools", "networks"),
    [
        (None, 31),
        ([{"Base": "10.210.0.0/16", "Size": 24}], 256),
        ([{"Base": "10.0.0.0/24", "Size": 28}, {"Base": "10.1.0.0/24", "Size": 24}], 17),
        ([{"Base": "fd00::/48", "Size": 64}, {"Base": "10.1.0.0/24", "Size": 24}], 1),
        ([{"Base": "nonsense", "Size": 24}, {}], 31),
    ],
)
def test_how_many_networks_get_addresses(pools: object, networks: int) -> None:
    info = {"DefaultAddressPools": pools}
    assert engine_facts(VERSION, info, ()).address_ranges == networks
