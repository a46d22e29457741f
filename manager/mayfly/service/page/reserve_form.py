"""The form by which a person reserves GPUs: its fields, and what they come to at the manager's path. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mayfly.core.quantities import moment, parse_duration, rfc3339
from mayfly.service.page.markup import Html, el, join

MOST = 64  # characters of a field that are shown again
FIELDS = ("gpus", "for", "at", "pool")
BEFORE: Mapping[str, str] = {"gpus": "1", "for": "2h", "at": "", "pool": ""}


class Unmeant(ValueError):
    """A field cannot be meant; in one sentence."""


def body(given: Mapping[str, str]) -> dict[str, object]:
    """What ``POST /v1/reservations`` is sent for the form's fields; ``Unmeant`` where one cannot be meant."""
    fields = {name: given.get(name, "").strip() for name in FIELDS}
    gpus = fields["gpus"]
    if not (gpus.isascii() and gpus.isdigit() and len(gpus) < 4 and int(gpus) > 0):
        raise Unmeant("GPUs: say how many, as a whole number of 1 or more.")
    try:
        seconds = parse_duration(fields["for"])
    except ValueError as error:
        raise Unmeant(f"For: it {error}.") from error
    told: dict[str, object] = {"gpus": int(gpus), "for": seconds, "outside": True}
    if fields["at"]:
        at = moment(fields["at"])
        if at is None:
            raise Unmeant("From: it is not a time; write for example 2026-11-21 14:00, in UTC.")
        told["at"] = rfc3339(at)
    if fields["pool"]:
        told["pool"] = fields["pool"]
    return told


def form(pools: Sequence[str], token: str, given: Mapping[str, str], why: str = "") -> Html:
    """The form with what was ``given``; ``why``: what was refused of it, in a sentence."""
    if not pools:
        told = "No pool is for reservations: an operator sets reserve = true in a pool's table."
        return join(el("h2", "Reserve GPUs"), el("p", told, class_="note"))
    shown = {name: given.get(name, before)[:MOST] for name, before in BEFORE.items()}
    asked = el(
        "form",
        el("input", type="hidden", name="token", value=token),
        _field("GPUs", "gpus", shown, type="number", min=1, max=64, required=True),
        _field("For (90m, 2h)", "for", shown, required=True),
        _field("From (UTC; empty: at once)", "at", shown, type="datetime-local"),
        _pools(pools, shown["pool"]),
        el("button", "Reserve", type="submit", id="reserve", class_="button calm"),
        " ",
        el("a", "Leave it", href="/#reservations", id="leave"),
        method="post",
        action="/reserve",
        class_="fields",
    )
    return join(
        el("h2", "Reserve GPUs"),
        el("p", why, class_="note", id="why", role="alert") if why else None,
        el(
            "p",
            "They are yours for work outside of containers, after the job that runs there then. A shell in "
            "a container is reserved on the host: ",
            el("code", "mayfly reserve --for 2h"),
        ),
        asked,
    )


def _field(
    label: str, name: str, shown: Mapping[str, str], **attributes: str | float | bool | None
) -> Html:
    field = el("input", name=name, id=name, value=shown[name], autocomplete="off", **attributes)
    return el("p", el("label", label, for_=name), field)


def _pools(pools: Sequence[str], chosen: str) -> Html:
    options = [el("option", "whichever has room", value="")]
    options += [el("option", one, value=one, selected=one == chosen) for one in pools]
    return el("p", el("label", "Pool", for_="pool"), el("select", options, name="pool", id="pool"))
