"""Containers of the job's: made, looked at, started, stopped, entered and removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.core.admission.ask import Ask
from mayfly.core.admission.create import CONFIG, container_name, create, named_in_create
from mayfly.core.admission.filters import OF_CONTAINERS, OF_PRUNES, filtered, named_in_filters
from mayfly.core.admission.keys import Key, dropped, each, flag, read_keys, refused, text, whole
from mayfly.core.admission.keys import command as parts_of
from mayfly.core.admission.objects import SPOKEN, Kind, Ref
from mayfly.core.admission.outcome import Answer, Forward, Outcome, Refused, Streams
from mayfly.core.admission.request import Request, quoted, target
from mayfly.core.admission.routes import (
    Expects,
    Route,
    anything,
    asked,
    hijacked,
    ignored,
    number,
    on_container,
    out,
    switch,
    when,
    word,
)
from mayfly.core.admission.routes import refused as refused_path
from mayfly.core.admission.weights import COMMAND_WEIGHS, ENVIRONMENT_WEIGHS, weigh

# The Engine runs the host's ps and tells whose a line is by its column: a text before that could shift it.
_PS = r"-?e?f?w{0,2}|a?u?x?w{0,2}|-?(?:e|ax)?o ?pid(?:,[a-z_%]{1,20}){0,20}"
_PATH = anything("path", "in the container")
_DETACH = word("detachKeys", form=r"[A-Za-z0-9\[\]@^_,\\ -]{1,64}")
_SIGNAL = word("signal", form=r"[A-Za-z0-9+-]{1,20}")
_STREAMS = (
    *(switch(name) for name in ("stream", "stdin", "stdout", "stderr", "logs")),
    _DETACH,
)
_CREATE = (
    word("name", "the name that the job knows it by"),
    word("platform", "the image's, or a refusal; not passed on", r"[A-Za-z0-9/_.-]{1,64}"),
)
_LIST = (
    switch("all"),
    number("limit"),
    switch("size"),
    ignored("trunc_cmd"),
    anything("filters", "with the agent's own label"),
)
EXEC = (
    Key("Cmd", f"at most {COMMAND_WEIGHS // 1024} KiB", parts_of),
    Key("Env", f"at most {ENVIRONMENT_WEIGHS // 1024} KiB", each(text)),
    Key("User", "as it is", text),
    Key("WorkingDir", "as it is", text),
    Key("Tty", "as it is", flag),
    Key("AttachStdin", "as it is", flag),
    Key("AttachStdout", "as it is", flag),
    Key("AttachStderr", "as it is", flag),
    Key("DetachKeys", "as it is", text),
    Key("ConsoleSize", "as it is", each(whole(0, 65535))),
    dropped("Detach", "said when it is started"),
    dropped("Container", "said by the path"),
    refused("Privileged", "no process of a job is privileged"),
)
EXEC_START = (
    Key("Detach", "as it is", flag),
    Key("Tty", "as it is", flag),
    Key("ConsoleSize", "as it is", each(whole(0, 65535))),
)


def _create(ask: Ask) -> Outcome:
    asked(ask, _CREATE)
    return create(ask)


def _named_in_create(request: Request, _named: Mapping[str, str]) -> Iterable[Ref]:
    return named_in_create(request)


def _named_in_filters(request: Request, _named: Mapping[str, str]) -> tuple[Ref, ...]:
    return named_in_filters(request)


def _list(ask: Ask) -> Outcome:
    said = asked(ask, _LIST) | {"filters": filtered(ask, OF_CONTAINERS)}
    return out(ask, "/containers/json", said, answer=Answer.CONTAINERS)


def _prune(ask: Ask) -> Outcome:
    said = asked(ask, (anything("filters"),)) | {"filters": filtered(ask, OF_PRUNES)}
    return out(ask, "/containers/prune", said, answer=Answer.PRUNED)


def _rename(ask: Ask) -> Outcome:
    asked(ask, (word("name"),))
    if not ask.request.query.get("name", "").removeprefix("/"):
        raise Refused("name is not said: a container is renamed to one", 400)
    name = {"name": ask.grant.prefix + container_name(ask)}
    return out(ask, f"/containers/{quoted(ask.container().id)}/rename", name)


def _remove(ask: Ask) -> Outcome:
    said = asked(ask, (switch("v"), switch("force"), switch("link")))
    if said.pop("link", "0").lower() in ("1", "true", "t"):
        raise Refused("parameter link is refused: a link is of the container that it was made with")
    # A volume without a name is nobody's once its container is gone.
    return out(ask, f"/containers/{quoted(ask.container().id)}", {**said, "v": "1"})


def _archive(method: str, streams: Streams, does: str) -> Route:
    kept = (switch("noOverwriteDirNonDir"), switch("copyUIDGID"))
    query = (_PATH, *(kept if method == "PUT" else ()))

    def rule(ask: Ask) -> Outcome:
        said = asked(ask, query)
        if not said.get("path"):
            raise Refused("path is not said: files are copied from or to one", 400)
        path = f"/containers/{quoted(ask.container().id)}/archive"
        headers = {"Content-Type": "application/x-tar"} if method == "PUT" else {}
        return out(ask, path, said, streams=streams, headers=headers)

    expects = Expects.UPLOAD if method == "PUT" else Expects.NOTHING
    return Route(method, "/containers/{container}/archive", does, rule, query, expects)


def _exec(ask: Ask) -> Outcome:
    given = read_keys(ask.request.body or {}, EXEC)
    container = ask.container()
    weigh(given.get("Cmd") or (), COMMAND_WEIGHS, "Cmd")
    weigh(given.get("Env") or (), ENVIRONMENT_WEIGHS, "Env")
    body: dict[str, Any] = {
        "Cmd": given.get("Cmd") or [],
        "Env": given.get("Env") or [],
        "User": given.get("User", ""),
        "WorkingDir": given.get("WorkingDir", ""),
        "Privileged": False,
        **{
            key: given.get(key, False)
            for key in ("Tty", "AttachStdin", "AttachStdout", "AttachStderr")
        },
        "DetachKeys": given.get("DetachKeys", ""),
    }
    if any(given.get("ConsoleSize") or ()):
        body["ConsoleSize"] = given["ConsoleSize"][:2]
    path = f"/containers/{quoted(container.id)}/exec"
    return Forward(
        "POST", target(SPOKEN, path), body=body, answer=Answer.CREATED, counts="processes"
    )


def _exec_start(ask: Ask) -> Outcome:
    given = read_keys(ask.request.body or {}, EXEC_START)
    process = ask.own(Kind.EXEC, ask.named["exec"])
    body = {"Detach": given.get("Detach", False), "Tty": given.get("Tty", False)}
    if any(given.get("ConsoleSize") or ()):
        body["ConsoleSize"] = given["ConsoleSize"][:2]
    return Forward(
        "POST",
        target(SPOKEN, f"/exec/{quoted(process.id)}/start"),
        {} if body["Detach"] else hijacked(ask),
        body,
        streams=Streams.NONE if body["Detach"] else Streams.HIJACK,
    )


def _on_exec(method: str, rest: str, does: str, answer: Answer, *sizes: str) -> Route:
    query = tuple(number(name) for name in sizes)

    def rule(ask: Ask) -> Outcome:
        said = asked(ask, query)
        process = ask.own(Kind.EXEC, ask.named["exec"])
        return out(ask, f"/exec/{quoted(process.id)}/{rest}", said, answer=answer)

    return Route(method, f"/exec/{{exec}}/{rest}", does, rule, query)


_THEIRS = "its own alone"
ROUTES = (
    Route("GET", "/containers/json", "the job's own alone", _list, _LIST, names=_named_in_filters),
    Route(
        "POST",
        "/containers/create",
        "made anew from the tables below",
        _create,
        _CREATE,
        Expects.JSON,
        names=_named_in_create,
        keys=CONFIG,
    ),
    Route(
        "POST",
        "/containers/prune",
        "removes the job's own that have ended",
        _prune,
        (anything("filters", "with the agent's own label"),),
    ),
    on_container(
        "GET",
        "/containers/{container}/json",
        "without what is the host's",
        switch("size"),
        answer=Answer.CONTAINER,
    ),
    on_container(
        "GET",
        "/containers/{container}/top",
        _THEIRS,
        word("ps_args", "`-ef`, `aux`, or `-o` with `pid` first", _PS),
        answer=Answer.TOP,
    ),
    on_container(
        "GET",
        "/containers/{container}/logs",
        _THEIRS,
        *(switch(name) for name in ("follow", "stdout", "stderr", "timestamps", "details")),
        *(when("since"), when("until"), word("tail", form="all|[0-9]{1,9}")),
        streams=Streams.ANSWER,
    ),
    on_container("GET", "/containers/{container}/changes", _THEIRS, answer=Answer.CHANGES),
    on_container("GET", "/containers/{container}/export", _THEIRS, streams=Streams.ANSWER),
    on_container(
        "GET",
        "/containers/{container}/stats",
        _THEIRS,
        *(switch("stream"), switch("one-shot")),
        streams=Streams.LINES,
        answer=Answer.STATS,
    ),
    on_container("POST", "/containers/{container}/resize", _THEIRS, *(number("h"), number("w"))),
    on_container("POST", "/containers/{container}/start", _THEIRS, _DETACH),
    on_container("POST", "/containers/{container}/stop", _THEIRS, _SIGNAL, number("t")),
    on_container("POST", "/containers/{container}/restart", _THEIRS, _SIGNAL, number("t")),
    on_container("POST", "/containers/{container}/kill", _THEIRS, _SIGNAL),
    on_container("POST", "/containers/{container}/pause", _THEIRS),
    on_container("POST", "/containers/{container}/unpause", _THEIRS),
    on_container(
        "POST",
        "/containers/{container}/wait",
        _THEIRS,
        word("condition", form="not-running|next-exit|removed"),
        streams=Streams.LINES,
        answer=Answer.WAIT,
    ),
    on_container(
        "POST",
        "/containers/{container}/attach",
        _THEIRS,
        *_STREAMS,
        streams=Streams.HIJACK,
        upgrades=True,
    ),
    Route(
        "POST",
        "/containers/{container}/rename",
        "to a name that the job knows it by",
        _rename,
        (word("name"),),
    ),
    Route(
        "DELETE",
        "/containers/{container}",
        _THEIRS,
        _remove,
        (switch("v", "always"), switch("force"), switch("link", "refused")),
    ),
    _archive("HEAD", Streams.NONE, "`docker cp`"),
    _archive("GET", Streams.ANSWER, "`docker cp` out of it"),
    _archive("PUT", Streams.UPLOAD, "`docker cp` into it"),
    Route(
        "POST",
        "/containers/{container}/exec",
        "a process in it, never a privileged one",
        _exec,
        expects=Expects.JSON,
        keys=EXEC,
    ),
    Route(
        "POST",
        "/exec/{exec}/start",
        "of the job's own",
        _exec_start,
        expects=Expects.JSON,
        upgrades=True,
        keys=EXEC_START,
    ),
    _on_exec("GET", "json", "of the job's own", Answer.EXEC),
    _on_exec("POST", "resize", "of the job's own", Answer.PLAIN, "h", "w"),
    refused_path(
        "POST",
        "/containers/{container}/update",
        "a container's limits are said when it is made: docker run --cpus, --memory",
    ),
    refused_path(
        "GET",
        "/containers/{container}/attach/ws",
        "attach without a websocket: docker attach does",
    ),
    refused_path(
        "GET",
        "/containers/{container}/checkpoints",
        "containers of a job are not kept beyond it",
    ),
    refused_path(
        "POST",
        "/containers/{container}/checkpoints",
        "containers of a job are not kept beyond it",
    ),
    refused_path(
        "POST",
        "/commit",
        "no image is made of a container: write files to the job's work directory, or push an image that "
        "a builder in a container has made",
    ),
)
