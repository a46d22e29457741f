"""TOML that is written loads again as what it was written from."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from mayfly.cli.init_text import Found, PoolAnswers, config_text
from mayfly.cli.prototype import Prototype, Volume, text_of
from mayfly.edge.toml_value import toml_key, toml_value

# TOML has every character but the halves of pairs; a line is ended by more than \n in Python's eyes.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
SCALARS = TEXTS | NUMBERS | st.booleans() | st.datetimes() | st.dates() | st.times()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


@given(VALUES)
@example("/data/😀")
@example("a\nb\r\t\x00\x7f\\\"'\u2028")
@example({"": {"😀 = [": []}})
def test_a_value_loads_as_itself(value: Any) -> None:
    written = toml_value(value)
    assert "\n" not in written
    found = tomllib.loads(f"key = {written} # and a comment")["key"]
    assert (found, type(found)) == (value, type(value))


@given(TEXTS)
def test_a_key_loads_as_itself(key: str) -> None:
    assert tomllib.loads(f"{toml_key(key)} = 1") == {key: 1}


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_whatever_init_was_given_its_file_says_the_same(
    host: str, url: str, agent_pool: str, file: str
) -> None:
    wanted = PoolAnswers("azure", "gpu", 2, 0, url, agent_pool, token_file=file)
    found = tomllib.loads(config_text(Found(host, host or None), wanted))
    pool = found["pool"][0]
    assert found["host"]["name"] == host
    assert found["host"].get("docker_host") == (host or None)
    service = pool["azure"]
    assert (service["url"], service.get("agent_pool", "")) == (
        url or "https://dev.azure.com/ORGANISATION",
        agent_pool,
    )
    assert service.get("token", {"file": ""}) == {"file": file} or not file


@given(st.lists(st.builds(Volume, TEXTS, TEXTS, TEXTS)), TEXTS, TEXTS)
@example([Volume("/a\nb", "/c\\1", "D\\g<0>\n")], "lab\nhost", "image\n[[pool]]")
def test_whatever_the_prototype_was_given_the_file_says_the_same(
    volumes: list[Volume], name: str, image: str
) -> None:
    old = Prototype("pat", "https://x", "gpu", name=name, image=image, volumes=tuple(volumes))
    (pool,) = tomllib.loads(text_of(old, Found("box", None), "/t"))["pool"]
    assert pool.get("labels", []) == [one.env for one in volumes]
    assert [(one["source"], one["target"], one["env"]) for one in pool.get("dataset", [])] == [
        (one.source, one.target, one.env) for one in volumes
    ]
