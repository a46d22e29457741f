"""Values of the core as JSON: they come back as they were, and hold nothing that jobs keep to themselves."""

from __future__ import annotations

import json

import pytest

from mayfly.core.codec import decoded, encoded
from mayfly.core.memory import Memory
from mayfly.core.model import Phase, PoolName, PoolSpec, Witness


def test_values_come_back_as_they_were() -> None:
    for value in (
        Memory(),
        Phase.BUSY,
        Witness(ready=1.0, signs=("a",)),
        {(PoolName("p"), "7"): 1.5},
        frozenset({"a", "b"}),
        (1, None, True, "text"),
    ):
        assert decoded(json.loads(json.dumps(encoded(value)))) == value


def test_what_jobs_see_in_their_environment_is_not_told() -> None:
    spec = PoolSpec(PoolName("p"), env={"TOKEN": "hunter2"})
    assert "hunter2" not in json.dumps(encoded(spec))
    assert encoded(decoded(encoded(spec))) == encoded(spec)


def test_what_is_of_no_known_type_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no 'Nonsense'"):
        decoded({"is": "Nonsense"})
