"""Where what a request names is looked for, and whose it has to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.admission.image_names import (
    allowed,
    familiar,
    registry_allowed,
    was_pulled,
)
from mayfly.core.admission.objects import Kind, Known, Ref, found, lookups
from tests.core.admission.engine import refused
from tests.core.admission.granted import AGENT, GRANT, PREFIX

ID = "c" * 64


def container(**labels: str) -> dict[str, Any]:
    return {"Id": ID, "Name": f"/{PREFIX}db", "Config": {"Labels": {**GRANT.labels, **labels}}}


@pytest.mark.parametrize(
    ("ref", "paths"),
    [
        (Ref(Kind.CONTAINER, "db"), [f"containers/{PREFIX}db/json"]),
        (Ref(Kind.CONTAINER, "/db"), [f"containers/{PREFIX}db/json"]),
        (Ref(Kind.CONTAINER, "abc"), [f"containers/{PREFIX}abc/json"]),  # too short for an id
        (
            Ref(Kind.CONTAINER, "abcdef012345"),
            [f"containers/{PREFIX}abcdef012345/json", "containers/abcdef012345/json"],
        ),
        (Ref(Kind.CONTAINER, PREFIX + "db"), [f"containers/{PREFIX}{PREFIX}db/json"]),
        (Ref(Kind.CONTAINER, "a/../../x"), []),
        (Ref(Kind.CONTAINER, ""), []),
        (Ref(Kind.EXEC, ID), [f"exec/{ID}/json"]),
        (Ref(Kind.EXEC, "name"), []),
        (Ref(Kind.NETWORK, "bridge"), [f"networks/{PREFIX}bridge"]),
        (Ref(Kind.VOLUME, "pg"), [f"volumes/{PREFIX}pg"]),
        (Ref(Kind.VOLUME, ID), [f"volumes/{PREFIX}{ID}", f"volumes/{ID}"]),
        (Ref(Kind.IMAGE, "reg:5000/a/b:t"), ["images/reg:5000/a/b:t/json"]),
        (Ref(Kind.IMAGE, "../x"), []),
        (Ref(Kind.IMAGE, "a?b"), []),
    ],
)
def test_a_name_is_looked_for_with_the_prefix_and_then_as_an_id(ref: Ref, paths: list[str]) -> None:
    assert lookups(ref, GRANT) == tuple(f"/v1.45/{path}" for path in paths)


def test_a_container_is_own_by_its_labels_alone() -> None:
    ref = Ref(Kind.CONTAINER, "db")
    assert found(ref, container(), GRANT) == Known(ID, f"{PREFIX}db")
    assert found(ref, container(**{"io.mayfly.belongs.seal": "x"}), GRANT) is None
    assert found(ref, {**container(), "Config": {"Labels": None}}, GRANT) is None
    assert found(ref, {**container(), "Id": AGENT}, GRANT) is None


def test_an_exec_is_own_where_its_container_is() -> None:
    ref = Ref(Kind.EXEC, "e" * 64)
    document = {"ID": "e" * 64, "ContainerID": ID}
    assert found(ref, document, GRANT, container()) == Known("e" * 64, "", container=ID)
    assert found(ref, document, GRANT) is None
    assert found(ref, document, GRANT, {**container(), "Id": "f" * 64}) is None
    assert found(ref, document, GRANT, {**container(), "Config": {}}) is None


def test_a_network_that_only_begins_as_was_asked_is_another() -> None:
    ref, labels = Ref(Kind.NETWORK, "net"), GRANT.labels
    assert found(ref, {"Id": ID, "Name": f"{PREFIX}net", "Labels": labels}, GRANT) is not None
    assert found(ref, {"Id": ID, "Name": f"{PREFIX}net2", "Labels": labels}, GRANT) is None
    assert found(ref, {"Id": ID, "Name": f"{PREFIX}net", "Labels": {}}, GRANT) is None


def test_the_work_volume_is_none_that_an_agent_names() -> None:
    assert GRANT.work is not None
    document = {"Name": GRANT.work.volume, "Labels": GRANT.labels}
    assert found(Ref(Kind.VOLUME, "x"), document, GRANT) is None
    own = {"Name": f"{PREFIX}pg", "Labels": GRANT.labels}
    assert found(Ref(Kind.VOLUME, "pg"), own, GRANT) == Known(f"{PREFIX}pg", f"{PREFIX}pg")


IMAGE = {
    "Id": "sha256:" + "1" * 64,
    "RepoTags": ["lab/tool:1"],
    "RepoDigests": ["lab/tool@sha256:" + "2" * 64],
}


@pytest.mark.parametrize(
    ("patterns", "asked", "name"),
    [
        (("*",), "lab/tool:1", "lab/tool:1"),
        (("lab/*",), "docker.io/lab/tool:1", "docker.io/lab/tool:1"),
        (("lab/*",), "111111111111", ""),  # by its id
        (("lab/*",), "lab/tool@sha256:" + "2" * 64, "lab/tool@sha256:" + "2" * 64),
        (("lab/other",), "lab/tool:1", None),
        (("lab/other",), "sha256:" + "1" * 64, None),
        (("*",), "tool", None),  # what the Engine found by another name
        ((), "lab/tool:1", None),
    ],
)
def test_an_image_is_there_where_a_pattern_allows_one_of_its_names(
    patterns: tuple[str, ...], asked: str, name: str | None
) -> None:
    known = found(Ref(Kind.IMAGE, asked), IMAGE, replace(GRANT, allowed_images=patterns))
    assert (known.name if known else None) == name
    assert known is None or not known.own


def test_a_registry_of_ones_own_has_to_be_named_and_a_refusal_says_how() -> None:
    told = refused("POST", "/images/create?fromImage=x.localtest.me:5000/a")
    assert "has to be named in it: x.localtest.me:5000/*" in told.sentence


def test_an_image_was_pulled_by_any_of_its_names() -> None:
    assert was_pulled(IMAGE, {"lab/tool:1"})
    assert was_pulled(IMAGE, {"lab/tool@sha256:" + "2" * 64})
    assert not was_pulled(IMAGE, {"lab/tool:latest"})
    assert not was_pulled({"RepoTags": None}, {"lab/tool:1"})


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("alpine", "alpine:latest"),
        ("docker.io/library/alpine:3", "alpine:3"),
        ("index.docker.io/library/alpine", "alpine:latest"),
        ("lab/tool", "lab/tool:latest"),
        ("localhost/x:1", "localhost/x:1"),
        ("reg.io:5000/a/b", "reg.io:5000/a/b:latest"),
        ("alpine@sha256:" + "0" * 64, "alpine@sha256:" + "0" * 64),
        ("Alpine", None),
        ("a//b", None),
        ("a/../b", None),
        ("sha256:" + "0" * 64, None),
        ("-x", None),
        ("x" * 500, None),
    ],
)
def test_a_name_is_read_as_the_engine_reads_it(name: str, plain: str | None) -> None:
    assert familiar(name) == plain


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        (("*",), "alpine", True),
        (("*",), "ghcr.io/lab/x:1", True),
        # Where a name leads says whoever keeps it: this one to the host itself.
        (("*",), "x.localtest.me:5000/a", False),
        (("*",), "10.0.0.1.nip.io/a", False),
        (("*",), "registry.lab.example/a", False),
        (("x*",), "x.localtest.me:5000/a:latest", False),
        (("registry.lab.example/*",), "registry.lab.example/a", True),
        (("*.lab.example/*",), "registry.lab.example/a", True),
        (("*.lab.example/*",), "evil.example/x.lab.example/a", False),
        (("*.example/*",), "registry.example/a", False),
        # The Engine would ask the host itself, or what stands beside it.
        (("*",), "localhost:5000/x", False),
        (("*",), "localhost/x", False),
        (("*",), "127.0.0.1:5000/x", False),
        (("*",), "[::1]:5000/x", False),
        (("*",), "169.254.169.254/latest", False),
        (("*",), "0x7f.1/x", False),
        (("*",), "registry:5000/x", False),
        (("*",), "metadata.google.internal/x", False),
        (("*lhost:5000/x:*",), "localhost:5000/x:1", False),
        (("localhost:5000/*",), "localhost:5000/x", True),
        (("registry:5000/*",), "registry:5000/x:2", True),
        (("alpine",), "alpine", True),
        (("alpine",), "alpine:3", False),
        (("docker.io/library/alpine:*",), "alpine:3", True),
        (("lab/*",), "evil.io/lab/x", False),
        (("lab/*",), "sha256:" + "0" * 64, False),
    ],
)
def test_a_pattern_allows_names(patterns: tuple[str, ...], name: str, fits: bool) -> None:
    assert allowed(name, replace(GRANT, allowed_images=patterns)) is fits


@pytest.mark.parametrize(
    ("patterns", "registry", "fits"),
    [
        (("*",), "ghcr.io", True),
        (("*",), "x.localtest.me:5000", False),
        (("*.lab.example/*",), "registry.lab.example", True),
        (("*",), "localhost:5000", False),
        (("*",), "10.0.0.1", False),
        (("lab/*",), "ghcr.io", False),
        (("lab/*",), "index.docker.io", True),
        (("registry:5000/*",), "registry:5000", True),
        (("*",), "https://ghcr.io", False),
    ],
)
def test_credentials_go_only_to_registries_of_the_patterns(
    patterns: tuple[str, ...], registry: str, fits: bool
) -> None:
    assert registry_allowed(registry, replace(GRANT, allowed_images=patterns)) is fits
