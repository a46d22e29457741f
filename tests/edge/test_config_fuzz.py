"""Whatever stands in a configuration, it is understood or refused in sentences; never a traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.core import model
from mayfly.edge import sources
from mayfly.edge.config import ConfigError
from mayfly.providers.configuration import check, load, schema

pytestmark = pytest.mark.long

MANY = (
    int(os.environ.get("MAYFLY_FUZZ", "800")) // 4
)  # four tests share it, here and in tests/service

KEYS = sorted({key for table in schema()["$defs"].values() for key in table["properties"]})
TEXTS = st.one_of(
    st.sampled_from(["8GiB", "30m", "none", "all", "/data", "local", "azure", "GPU-8f2c1111", "0"]),
    st.text(max_size=20),
)
SCALARS = st.one_of(TEXTS, st.integers(), st.booleans(), st.floats(), st.datetimes())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
TABLES = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=8)
NAMED = st.builds(
    lambda name, table: {"name": name, **table},
    st.from_regex(r"[a-z]{1,3}", fullmatch=True),
    TABLES,
)
TREES = st.fixed_dictionaries(
    {}, optional={"host": TABLES | VALUES, "pool": st.lists(NAMED | TABLES, max_size=3) | VALUES}
)


@settings(max_examples=MANY, deadline=None)
@given(st.lists(TREES, min_size=1, max_size=3))
def test_any_tree_is_a_configuration_or_a_list_of_sentences(trees: list[dict[str, Any]]) -> None:
    layers = [sources.Layer(f"layer {i}", tree) for i, tree in enumerate(trees)]
    try:
        found = check(sources.merge(layers), "layer 0")
    except ConfigError as refused:
        problems = refused.problems
    else:
        assert isinstance(found, model.Config)
        assert len({pool.name for pool in found.pools}) == len(found.pools) > 0
        return
    assert problems
    for problem in problems:
        assert problem.file.startswith("layer ")
        assert problem.text
        assert "validat" not in problem.text


@settings(max_examples=MANY, deadline=None)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_configuration_or_a_list_of_sentences(
    tmp_path_factory: Any, data: bytes
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(data)
    told = ""
    try:
        load(path, environ={})
    except ConfigError as refused:
        told = str(refused)
    assert not told or told.startswith((f"{path}: ", f"{path}:"))
