"""Whatever comes in, what goes out names only what is the agent's own, and no request meets a bug."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.core.admission.admit import ROUTES
from mayfly.core.admission.grant import Grant
from mayfly.core.admission.outcome import Forward, Outcome, Refuse, Reply
from mayfly.core.admission.request import quoted
from tests.core.admission.checker import assert_safe
from tests.core.admission.engine import decided
from tests.core.admission.mutations import GRANTS, request


def judged(draw: Random) -> Outcome:
    """One request is decided on, and what comes of it is looked at."""
    grant, method, target, body = request(draw)
    outcome = decided(method, target, body, grant=grant)
    match outcome:
        case Forward():
            assert_safe(outcome, grant)
        case Refuse():
            assert 400 <= outcome.status < 500
            assert outcome.sentence
            assert "\n" not in outcome.sentence
            assert len(outcome.sentence) < 1000
            outcome.sentence.encode()
        case _:
            assert isinstance(outcome, Reply)
    return outcome


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_what_goes_out_is_the_agents_own(draw: Random) -> None:
    judged(draw)


def test_most_ways_lead_somewhere() -> None:
    """Else the law above would hold of nothing."""
    draw = Random(1)
    seen = {True: 0, False: 0}
    for _ in range(1500):
        seen[isinstance(judged(draw), Forward)] += 1
    assert min(seen.values()) > 150, seen


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([route.method for route in ROUTES]),
    st.one_of(
        st.text(max_size=60).map(lambda text: "/" + quoted(text, slashes=True)),
        st.text(alphabet="/.%2Fev1containersjson?&=x", max_size=40).map(lambda text: "/" + text),
        st.text(max_size=40),
    ),
    st.binary(max_size=60),
    st.sampled_from(GRANTS),
)
def test_a_path_of_any_kind_is_decided_on(
    method: str, target: str, body: bytes, grant: Grant
) -> None:
    outcome = decided(method, target, body, grant=grant)
    if isinstance(outcome, Forward):
        assert_safe(outcome, grant)
