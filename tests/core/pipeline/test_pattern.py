"""The pattern language of paths: what matches, what is captured, and that nothing is slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.core.pipeline.pattern import Captures, PatternError, Patterns, parse

# pattern, path, what is captured (None: it does not match)
MATCHES: list[tuple[str, str, dict[str, str] | None]] = [
    ("a", "a", {}),
    ("a", "a/b", None),
    ("a/b", "a/b", {}),
    ("*", "a", {}),
    ("*", "a/b", None),
    ("*.py", "a.py", {}),
    ("*.py", ".py", {}),
    ("*.py", "a.pyc", None),
    ("**", "a", {}),
    ("**", "a/b/c", {}),
    ("a/**", "a/b/c", {}),
    ("a/**", "a", None),
    ("**/a", "a", {}),
    ("**/a", "x/y/a", {}),
    ("**/*.md", "docs/x.md", {}),
    ("a/**/b", "a/b", {}),
    ("a/**/b", "a/x/y/b", {}),
    ("a/**/b", "a/x/y/c", None),
    ("a/**/m/**", "a/m", None),
    ("a/**/m/**", "a/m/m", {}),
    ("stages/{stage}/**", "stages/bert/train.py", {"stage": "bert"}),
    ("stages/{stage}/**", "stages/bert", None),
    ("stages/{stage}/**", "stages/bert/a/b", {"stage": "bert"}),
    ("{a}/{b}.toml", "x/y.z.toml", {"a": "x", "b": "y.z"}),
    ("{a}/{b}.toml", "x/.toml", None),
    ("{a}-{b}", "x-y-z", {"a": "x", "b": "y-z"}),
    ("{a}-{b}", "-x-y", {"a": "-x", "b": "y"}),
    ("*-{b}", "x-y-z", {"b": "y-z"}),
    ("**/{a}/**", "x/y/z", {"a": "x"}),
    ("**/{a}/conf", "x/y/conf", {"a": "y"}),
    ("**/{a}.d/**/z", "q/x.d/y.d/z", {"a": "x"}),
    ("a\\*", "a*", {}),
    ("a\\*", "ab", None),
    ("\\{a\\}", "{a}", {}),
    ("a b/{x}'\"\n", "a b/1'\"\n", {"x": "1"}),
    ("\udcff/{x}", "\udcff/\udcfe", {"x": "\udcfe"}),
]


@pytest.mark.parametrize(("pattern", "path", "captured"), MATCHES)
def test_what_matches_and_what_is_captured(
    pattern: str, path: str, captured: dict[str, str] | None
) -> None:
    found = parse(pattern).match(path)
    assert (None if found is None else dict(found)) == captured


WRONG = [
    ("", "must be"),
    ("/a", "begins with /"),
    ("a/", "a/**"),
    ("a//b", "segment ''"),
    ("./a", "segment '.'"),
    ("a/../b", "segment '..'"),
    ("**/**", "twice in a row"),
    ("a**", "whole segment"),
    ("{a}*", "side by side"),
    ("{a}{b}", "side by side"),
    ("{a}/{a}", "captures a twice"),
    ("{a", "other half"),
    ("a}", "other half"),
    ("{}", "captures ''"),
    ("{A}", "captures 'A'"),
    ("{a/b}", "other half"),
    ("a\\", "nothing behind"),
]


@pytest.mark.parametrize(("pattern", "why"), WRONG)
def test_what_is_no_pattern_says_why(pattern: str, why: str) -> None:
    with pytest.raises(PatternError, match=re.escape(why)):
        parse(pattern)


LETTERS = st.text("ab.-", min_size=1, max_size=3)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Patterns of every shape, all of which parse."""
    parts: list[str] = []
    number = 0
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()) and (not parts or parts[-1] != "**"):
            parts.append("**")
            continue
        segment = ""
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["literal", "star", "capture"]))
            if kind != "literal" and not segment.endswith(("*", "}")):
                segment += "*" if kind == "star" else f"{{n{number}}}"
                number += 1
            else:
                segment += draw(LETTERS)
        parts.append(segment if segment not in (".", "..") else "a")
    return "/".join(parts)


PATHS = st.lists(st.text("ab.-", min_size=1, max_size=5), min_size=1, max_size=6).map("/".join)


def as_regular_expression(pattern: str) -> re.Pattern[str]:
    """The same by lazy quantifiers, which try everything."""
    text = re.sub(r"[.\-]", r"\\\g<0>", pattern)
    text = re.sub(r"\*\*/", "<ANY>", re.sub(r"(^|/)\*\*$", r"\1<ALL>", text))
    text = text.replace("*", "[^/]*?")
    text = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+?)", text)
    text = text.replace("<ANY>", "(?:[^/]+/)*?").replace("<ALL>", "(?:[^/]+/)*?[^/]+")
    return re.compile(text, re.DOTALL)


@settings(max_examples=600, deadline=None)
@given(patterns(), PATHS)
def test_it_is_what_trying_everything_would_find(pattern: str, path: str) -> None:
    found = parse(pattern).match(path)
    tried = as_regular_expression(pattern).fullmatch(path)
    assert (found is None) == (tried is None)
    if found is not None and tried is not None:
        assert dict(found) == tried.groupdict()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("abc09._", min_size=1, max_size=4).filter(lambda t: t.strip(".")), min_size=2)
)
def test_what_is_captured_makes_the_path_again(names: list[str]) -> None:
    pattern = "/".join(f"x{{n{number}}}" for number in range(len(names)))
    path = "/".join(f"x{name}" for name in names)
    found = parse(pattern).match(path)
    assert found == tuple((f"n{number}", name) for number, name in enumerate(names))


@settings(max_examples=200, deadline=None)
@given(st.lists(patterns(), min_size=1, max_size=12), PATHS)
def test_many_at_once_find_what_each_alone_finds(texts: list[str], path: str) -> None:
    every = [parse(text) for text in texts]
    alone: list[tuple[int, Captures]] = [
        (number, found)
        for number, pattern in enumerate(every)
        if (found := pattern.match(path)) is not None
    ]
    assert sorted(Patterns(every).matches(path)) == alone
    assert Patterns(every).any(path) == bool(alone)


def seconds(pattern: str, path: str) -> float:
    compiled = parse(pattern)
    began = time.process_time()
    assert compiled.match(path) is None
    return time.process_time() - began


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 100 + "b", "a" * 4000),
        ("/".join(["**/*a*"] * 20) + "/b", "/".join(["aa"] * 300)),
        ("{x}a" + "*a" * 50 + "c", "ab" * 2000),
    ],
)
def test_no_pattern_is_slow_on_a_path_made_for_it(pattern: str, path: str) -> None:
    """A matcher that tries every way needs longer than the universe has."""
    assert seconds(pattern, path) < 2


def test_a_large_repository_against_many_patterns_takes_seconds() -> None:
    """100,000 paths and 200 patterns: twenty million pairs, of which most are never looked at."""
    paths = [f"stages/s{n % 200}/part{n % 7}/f{n}.py" for n in range(100_000)]
    texts = [f"stages/s{n}/{{part}}/**" for n in range(190)]
    texts += [f"**/*.x{n}" for n in range(8)] + ["stages/{stage}/**", "**/{name}.py"]
    many = Patterns([parse(text) for text in texts])
    began = time.process_time()
    found = sum(len(list(many.matches(path))) for path in paths)
    assert time.process_time() - began < 20  # two on a quiet machine
    assert found == 95 * 1000 + 2 * 100_000
