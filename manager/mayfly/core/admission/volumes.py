"""Volumes of the job's: the Engine's own, without a driver's options, which could mount the host."""

from __future__ import annotations

from collections.abc import Mapping

from mayfly.core.admission.ask import Ask, free_labels, free_name
from mayfly.core.admission.filters import OF_PRUNES, OF_VOLUMES, filtered, named_in_filters
from mayfly.core.admission.keys import Key, by_name, matching, read_keys, refused, text
from mayfly.core.admission.objects import SPOKEN, Kind, Ref
from mayfly.core.admission.outcome import Answer, Forward, Outcome
from mayfly.core.admission.request import Request, quoted, target
from mayfly.core.admission.routes import Expects, Route, anything, asked, out, switch
from mayfly.core.admission.routes import refused as refused_path

CREATE = (
    Key("Name", "the name that the job knows it by", text),
    Key("Driver", "`local` alone", matching(lambda one: one in ("", "local"), '"local"')),
    refused("DriverOpts", "a volume with options could be any place of the host"),
    Key("Labels", "but those that begin with `io.mayfly.`", by_name(text)),
    refused("ClusterVolumeSpec", "there is no cluster"),
)
_FILTERS = anything("filters", "with the agent's own label")


def _create(ask: Ask) -> Outcome:
    asked(ask, ())
    given = read_keys(ask.request.body or {}, CREATE)
    name = given.get("Name") or f"v-{ask.request.token}"
    free_name(ask.grant, name, "a volume")
    return Forward(
        "POST",
        target(SPOKEN, "/volumes/create"),
        body={
            "Name": ask.grant.prefix + name,
            "Driver": "local",
            "DriverOpts": ask.grant.limits.volume_options,
            "Labels": free_labels(given.get("Labels"), "Labels") | ask.grant.labels,
        },
        makes=True,
        answer=Answer.VOLUME,
        counts="volumes",
    )


def _list(ask: Ask) -> Outcome:
    said = asked(ask, (_FILTERS,)) | {"filters": filtered(ask, OF_VOLUMES)}
    return out(ask, "/volumes", said, answer=Answer.VOLUMES)


def _prune(ask: Ask) -> Outcome:
    said = asked(ask, (_FILTERS,)) | {"filters": filtered(ask, OF_PRUNES)}
    return out(ask, "/volumes/prune", said, answer=Answer.PRUNED)


def _inspect(ask: Ask) -> Outcome:
    asked(ask, ())
    return out(ask, f"/volumes/{quoted(_volume(ask))}", answer=Answer.VOLUME)


def _remove(ask: Ask) -> Outcome:
    said = asked(ask, (switch("force"),))
    return out(ask, f"/volumes/{quoted(_volume(ask))}", said)


def _volume(ask: Ask) -> str:
    return ask.own(Kind.VOLUME, ask.named["volume"]).id


def _names_in_filters(request: Request, _named: Mapping[str, str]) -> tuple[Ref, ...]:
    return named_in_filters(request)


ROUTES = (
    Route("GET", "/volumes", "the job's own alone", _list, (_FILTERS,), names=_names_in_filters),
    Route(
        "POST",
        "/volumes/create",
        "a volume of the Engine's own",
        _create,
        expects=Expects.JSON,
        keys=CREATE,
    ),
    Route("POST", "/volumes/prune", "removes the job's own that nothing uses", _prune, (_FILTERS,)),
    Route("GET", "/volumes/{volume}", "the job's own", _inspect),
    Route("DELETE", "/volumes/{volume}", "the job's own", _remove, (switch("force"),)),
    refused_path("PUT", "/volumes/{volume}", "there is no cluster"),
)
