"""A grant comes back as it was written, and half a one is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.admission.grant import Grant, GrantLimits, grant_text, known_keys, read_grant
from tests.core.admission.granted import GRANT


@pytest.mark.parametrize(
    "grant",
    [
        GRANT,
        replace(GRANT, gpu=None, work=None, holder=None, limits=type(GRANT.limits)(), pull="never"),
    ],
)
def test_a_grant_comes_back_as_it_was_written(grant: Grant) -> None:
    assert read_grant(grant_text(grant)) == grant


def test_a_grant_that_asks_for_nothing_more_is_what_an_older_gateway_reads() -> None:
    """It knows no key that came later, and refuses what has one."""
    least = Grant("h", "p", "p-0", GRANT.generation, "c", "s", "d")
    must = {"host", "pool", "slot", "generation", "container", "seal", "door"}
    assert set(json.loads(grant_text(least))) == must
    some = replace(least, limits=GrantLimits(memory=1), builder="image")
    assert json.loads(grant_text(some))["limits"] == {"memory": 1}
    assert read_grant(grant_text(some)) == some


def test_each_key_that_is_read_is_told() -> None:
    keys = known_keys()
    assert {"host", "limits", "limits.disk", "registries.address", "gpu.env"} <= keys
    assert "security.ulimits.soft" in keys


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"privileged": True}, "grant.privileged is not known"),
        ({"generation": "../../etc"}, "grant.generation"),
        ({"seal": ""}, "grant.seal"),
        ({"network": "host"}, "own, none"),
        ({"lease": "GPU-1"}, "grant.lease has to be a list"),
        ({"lease": [1]}, "grant.lease[0]"),
        ({"work": {"target": "/w"}}, "grant.work lacks a key"),
        ({"work": {"target": "/w", "volume": "v", "size": 1}}, "grant.work.size"),
        ({"oom_score": True}, "grant.oom_score"),
        ({"bounds": {"containers": 1.5}}, "grant.bounds.containers"),
        ({"env": {"A": None}}, "grant.env.A"),
        ({"security": []}, "grant.security has to be an object"),
    ],
)
def test_what_is_not_known_or_of_another_kind_is_no_grant(
    change: dict[str, Any], told: str
) -> None:
    document = json.loads(grant_text(GRANT)) | change
    with pytest.raises(ValueError, match=r".") as refused:
        read_grant(json.dumps(document))
    assert told in str(refused.value)


def test_a_grant_that_lacks_a_key_is_none() -> None:
    with pytest.raises(ValueError, match="lacks a key"):
        read_grant("{}")


def test_only_labels_with_the_seal_are_the_agents_own() -> None:
    own = GRANT.labels
    assert GRANT.owns({**own, "other": "1"})
    assert not GRANT.owns(None)
    for name in own:
        assert not GRANT.owns({**own, name: "x"})
        assert not GRANT.owns({key: value for key, value in own.items() if key != name})
    assert not replace(GRANT, seal="").owns({**own, "io.mayfly.belongs.seal": ""})
