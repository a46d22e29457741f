"""Has a host paused or stopped, by the command or the webhook of ``[host.idle]``, and asks for vetoes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mayfly.core.idle_episodes import Ran
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.idleness import Kind, Reason
from mayfly.core.quantities import rfc3339, spoken_age
from mayfly.edge import bounded_program, webhook
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.logins import Login, awake, logins

SCHEMA = "mayfly.idle_host/1"


@dataclass(frozen=True, slots=True)
class Call:
    """Of which host, and for how long it has had nothing to do."""

    host: str
    since: float  # of the wall clock
    seconds: float
    test: bool = False  # a person tries it
    wanted_at: float | None = None  # when somebody has reserved what is here; None: nobody has

    @property
    def variables(self) -> Mapping[str, str]:
        """What a command is told."""
        return {
            "MAYFLY_HOST": self.host,
            "MAYFLY_IDLE_SINCE": rfc3339(self.since),
            "MAYFLY_IDLE_SECONDS": f"{self.seconds:.0f}",
            "MAYFLY_IDLE_TEST": "1" if self.test else "",
            "MAYFLY_WANTED_AT": rfc3339(self.wanted_at) if self.wanted_at is not None else "",
        }


def pause_host(settings: IdleSettings, call: Call) -> Ran:
    """Have it done, and say what came of it; never raises what the outside may do."""
    if settings.webhook is None:
        ended = bounded_program.run(settings.command, settings.timeout, call.variables)
        failure = bounded_program.told(f"the command {settings.command[0]}", ended)
        return Ran(failure, doubtful=bool(failure) and ended.began and (ended.code or -1) < 0)
    try:
        _post(settings, call)
    except Fault as fault:
        doubtful = isinstance(fault, Passing) and fault.unanswered
        return Ran(str(fault), doubtful=doubtful)
    return Ran()


def _post(settings: IdleSettings, call: Call) -> None:
    assert settings.webhook is not None
    address = webhook.address(settings.webhook, "`webhook` of [host.idle]")
    body = {
        "schema": SCHEMA,
        "host": call.host,
        "idle_since": rfc3339(call.since),
        "idle_seconds": round(call.seconds, 3),
        "test": call.test,
        "wanted_at": rfc3339(call.wanted_at) if call.wanted_at is not None else None,
    }
    webhook.post(
        address,
        body,
        "pause this host",
        key="webhook",
        whose="[host.idle]",
        token=settings.token,
        ca=settings.ca,
        timeout=settings.timeout,
    )


def login_vetoes(settings: IdleSettings) -> Iterator[Reason]:
    """Who is logged in and at work, or that nobody can say."""
    if settings.logins is None:
        return
    try:
        found = logins()
    except Fault as fault:
        yield Reason(Kind.UNKNOWN, f'{fault}; `logins = "none"` does not ask')
        return
    for login in awake(found, settings.logins):
        yield Reason(Kind.KEPT, f"{login.described} is logged in{_typed(login)}")


def _typed(login: Login) -> str:
    return f", idle for {spoken_age(login.idle)}" if login.idle is not None else ""


def veto_of_command(settings: IdleSettings, call: Call) -> Iterator[Reason]:
    """What the operator's own command has against it; one that cannot be asked is no leave."""
    if not settings.veto:
        return
    name = settings.veto[0]
    ended = bounded_program.run(settings.veto, settings.timeout, call.variables)
    if ended.code is None:
        yield Reason(Kind.UNKNOWN, f"the veto command {name} {ended.words}")
    elif ended.code != 0:
        yield Reason(Kind.KEPT, bounded_program.told(f"the veto command {name}", ended))


def vetoes(settings: IdleSettings, call: Call) -> tuple[Reason, ...]:
    """All that is asked outside of the manager; the command where nobody else has one."""
    found = tuple(login_vetoes(settings))
    return found or tuple(veto_of_command(settings, call))
