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
