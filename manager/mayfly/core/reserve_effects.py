"""What the commands come to by which people reserve GPUs, extend a reservation and give it back.

Pure. Everybody may reserve; a reservation is its owner's, and operators'.
"""

from __future__ import annotations

from typing import assert_never

from mayfly.core.command_refusal import Refusal
from mayfly.core.command_result import CommandResult, Situation, refusal, refused
from mayfly.core.commands import ExtendReservation, ReleaseReservation, ReserveGpus
from mayfly.core.facts import Fact, JobSubmitted, ReservationExtended, ReservationMade
from mayfly.core.model import JobId
from mayfly.core.quantities import rfc3339
from mayfly.core.reservations import Reservation
from mayfly.core.reserve_asking import longer, wish
from mayfly.core.reserving import ended
from mayfly.core.who_waits import who_waits

OfReservations = ReserveGpus | ExtendReservation | ReleaseReservation


def effects(command: OfReservations, at: Situation) -> CommandResult:
    """What is to be recorded, and the answer."""
    match command:
        case ReserveGpus():
            return _reserve(command, at)
        case ExtendReservation():
            return _extend(command, at)
        case ReleaseReservation():
            return _release(command, at)
        case _:
            assert_never(command)


def _reserve(command: ReserveGpus, at: Situation) -> CommandResult:
    found = wish(
        *(command, at.config, at.desired, at.memory, at.now), new=at.new_job, unsent=at.unsent
    )
    if isinstance(found, Refusal):
        return refused(found)
    one = found.reservation
    body: dict[str, object] = {"reservation": one.id, "pool": one.pool, "start": rfc3339(one.start)}
    body |= {"until": rfc3339(one.ends), "shell": one.shell, "booked": one.booked}
    facts: list[Fact] = [ReservationMade(at.now, one)]
    payloads = {}
    if found.job is not None:
        facts.append(JobSubmitted(at.now, found.job.job))
        payloads[one.id] = found.job.payload
    return CommandResult(201, body, tuple(facts), payloads)


def _extend(command: ExtendReservation, at: Situation) -> CommandResult:
    one = _own_reservation(command, at)
    if isinstance(one, CommandResult):
        return one
    waits_for = who_waits(one.pool, one.devices, at.memory, at.desired.slots, at.now)
    until = longer(one, command.seconds, at.desired, at.memory, at.now, waits_for)
    if isinstance(until, Refusal):
        return refused(until)
    fact = ReservationExtended(at.now, one.id, until, command.by.name)
    return CommandResult(200, {"reservation": one.id, "until": rfc3339(until)}, (fact,))


def _release(command: ReleaseReservation, at: Situation) -> CommandResult:
    one = _own_reservation(command, at)
    if isinstance(one, CommandResult):
        return one
    half_life = at.config.host.fair_share_half_life
    why = "it was given back" if one.began is not None else "it was given up before it began"
    pools = at.config.pools
    facts = ended(at.memory, one, why, command.by.name, at.now, half_life, pools)
    return CommandResult(200, {"reservation": one.id}, tuple(facts))


def _own_reservation(
    command: ExtendReservation | ReleaseReservation, at: Situation
) -> Reservation | CommandResult:
    """The reservation of that id, where it is the caller's to do something with."""
    one = at.memory.reservations.get(JobId(command.reservation))
    if one is None:
        sentence = f"there is no reservation {command.reservation}: see `mayfly reservations`"
        return refusal(404, "no_such_reservation", sentence)
    if not command.by.may_act_on(one.uid):
        sentence = f"reservation {one.id} is {one.owner}'s, not {command.by.name}'s"
        return refusal(403, "forbidden", sentence)
    return one
