"""A scale set's session: the one connection by which GitHub hands its jobs out, and their queue of messages.

There is one a set. It has a token of its own, for the queue alone, which lives for an hour at most and is
got anew by asking for the session again. A message is delivered until it was deleted, to the next session
too; the place in the queue is this session's alone, and begins at the first message.
"""

from __future__ import annotations

from dataclasses import dataclass

from mayfly.core.delivery import Delivery, JobCounts
from mayfly.edge.addresses import split
from mayfly.edge.credentials import Secret
from mayfly.edge.exchange import Interrupt
from mayfly.edge.faults import Passing
from mayfly.edge.service_json import items, mapping, text
from mayfly.edge.web import ServiceReply, Web
from mayfly.providers.github.actions_service import API_VERSION, WORDS, ActionsService
from mayfly.providers.github.scale_set import ScaleSet, kind_of, path_of
from mayfly.providers.github.set_messages import counts_of, delivery_of, lowered, started_in

HELD = 58.0  # seconds that an answer is waited for; the service holds a question for 51
CONFLICT = 10.0  # seconds until a session is asked for again that somebody else has
LEAVING = 4.0  # seconds for the service to end a session


class Lost(Exception):
    """The session is no more; another one is to be opened."""


@dataclass(frozen=True, slots=True)
class Session:
    """One that was opened."""

    set: int
    id: str
    queue: str  # the address of its messages
    token: Secret
    counts: JobCounts | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question came to."""

    delivery: Delivery
    started: tuple[str, ...] = ()  # names of runners that have begun a job


class Sessions:
    """Opens, asks and ends the sessions of one scale set."""

    def __init__(
        self, service: ActionsService, scale_set: ScaleSet, owner: str, whose: str
    ) -> None:
        self._service, self._set, self._owner, self._whose = service, scale_set, owner, whose

    def open(self, labels: tuple[str, ...]) -> Session:
        """A new one; ``Passing`` while somebody else has one, which may be an earlier manager's."""
        for _ in (1, 2):
            number = self._set.number(labels)
            reply = self._service.call(
                "POST",
                path_of(number, "sessions"),
                "listen for jobs",
                body={"ownerName": self._owner},
                accept=(200, 201, 404, 409),
            )
            if reply.status != 404:
                break
            self._set.forget(number)  # it vanished: make it anew
        if reply.status == 404:
            raise Passing(
                f"the scale set {self._set.name} vanishes as soon as it is made", CONFLICT
            )
        if reply.status == 409:
            raise Passing(
                f'the scale set "{self._set.name}" is listened to already (409), by an earlier run of this '
                f"manager for a minute or two, or by somebody else; {self._whose} asks again in "
                f"{CONFLICT:.0f} s: give each host a `scale_set` of its own",
                CONFLICT,
            )
        return self._session(number, reply, None)

    def refresh(self, session: Session) -> Session:
        """The same session with a new token for its queue; ``Lost`` where it is no more."""
        reply = self._service.call(
            "PATCH",
            path_of(session.set, f"sessions/{session.id}"),
            "go on listening for jobs",
            accept=(200, 400, 404),
        )
        if reply.status != 200:
            raise Lost
        return self._session(session.set, reply, session)

    def end(self, session: Session) -> None:
        """End it; gone already is success."""
        self._service.call(
            "DELETE",
            path_of(session.set, f"sessions/{session.id}"),
            "listen no more",
            accept=(200, 204, 400, 404),
            timeout=LEAVING,
        )

    def ask(self, session: Session, room: int, last: int, interrupt: Interrupt) -> Answer | None:
        """One long question, for what comes after the message ``last``; ``None``: its token is refused.

        ``Lost`` where the session is no more.
        """
        joint = "&" if split(session.queue).query else "?"
        reply = self._queue(session).call(
            "GET",
            session.queue if last == 0 else f"{session.queue}{joint}lastMessageId={last}",
            "wait for jobs",
            interrupt=interrupt,
            headers={
                "Accept": f"application/json; api-version={API_VERSION}",
                "Authorization": Secret(f"Bearer {session.token.reveal()}"),
                "X-ScaleSetMaxCapacity": str(room),
            },
            accept=(200, 202, 204, 400, 401, 403, 404),
            unread=WORDS,
            timeout=HELD,
        )
        if reply.status in (401, 403):
            return None
        if reply.status in (400, 404):
            raise Lost
        return Answer(delivery_of(reply.body), tuple(started_in(reply.body)))

    def acknowledge(self, session: Session, message: int) -> bool:
        """Have a message not delivered again; gone already is success. ``False``: the token is refused."""
        parts = split(session.queue)  # whose own query, if it has one, stays
        path = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/{message}"
        reply = self._queue(session).call(
            "DELETE",
            f"{path}?{parts.query}" if parts.query else path,
            "acknowledge a message",
            headers={"Authorization": Secret(f"Bearer {session.token.reveal()}")},
            accept=(200, 202, 204, 401, 403, 404),
            unread=WORDS,
        )
        return reply.status not in (401, 403)

    def acquire(self, session: Session, jobs: tuple[int, ...]) -> tuple[int, ...] | None:
        """Those of the jobs that are ours now; ``None``: the token is refused."""
        reply = self._service.call(
            "POST",
            path_of(session.set, "acquirejobs"),
            "take on jobs",
            body=list(jobs),
            accept=(200, 401, 403, 404),
            token=session.token,
        )
        if reply.status in (401, 403):
            return None
        if reply.status == 404:
            return ()  # this GitHub hands its jobs out unasked
        won = lowered(mapping(reply.body)).get("value")
        found = {one for one in items(won or []) if isinstance(one, int)}
        return tuple(job for job in jobs if job in found)

    def _queue(self, session: Session) -> Web:
        return self._service.web(session.queue)

    def _session(self, number: int, reply: ServiceReply, before: Session | None) -> Session:
        body = lowered(mapping(reply.body))
        queue = body.get("messagequeueurl")
        if not isinstance(queue, str) or not queue:
            queue = before.queue if before is not None else ""
        token, identity = body.get("messagequeueaccesstoken"), text(body.get("sessionid"))
        if not queue or not isinstance(token, str) or not token:
            raise Passing(
                f"GitHub opened a session without a queue ({kind_of(reply) or 'no word why'})", 5.0
            )
        split(queue)  # which is none where it is no address
        return Session(number, identity, queue, Secret(token), counts_of(body.get("statistics")))
