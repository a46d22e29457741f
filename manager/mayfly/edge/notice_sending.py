"""One notice to one target: a webhook, ntfy, Slack or what is compatible, or mail.

Formats: https://docs.ntfy.sh/publish/#publish-as-json and https://api.slack.com/messaging/webhooks .
"""

from __future__ import annotations

import re

from mayfly.core.notice_targets import MailTarget, Target, Way
from mayfly.core.notices import Kind, Message
from mayfly.core.quantities import rfc3339
from mayfly.edge import credentials, webhook
from mayfly.edge.faults import Refused

PIECE = 15.0  # seconds between two pieces of an answer
URGENT, USUAL, CALM = 5, 3, 2  # ntfy's priorities
EVERYBODY = re.compile(r"(?<![\w.])@(?=(?:all|channel|everyone|here)\b)", re.IGNORECASE)
SCHEMA = "mayfly.notice/1"


def send(target: Target, message: Message) -> None:
    """Hand it over; a ``Fault`` where the other end does not take it, or where a secret cannot be read."""
    (way,) = target.ways
    if target.mail is not None:
        _mail(target, target.mail, message)
        return
    address = _address(target, way)
    body: object
    match way:
        case "ntfy":
            address, _, topic = address.rstrip("/").rpartition("/")
            address += "/"
            body = {
                "topic": topic,
                "title": message.title,
                "message": message.text,
                "priority": _priority(message),
            }
        case "slack":
            body = {"text": f"*{_escaped(message.title)}*\n{_escaped(message.text)}"}
        case _:
            body = _document(message)
    webhook.post(
        address,
        body,
        "take a notice",
        key=way,
        whose=f'notify target "{target.name}"',
        token=target.token,
        ca=target.ca,
        timeout=PIECE,
    )


def _address(target: Target, way: Way) -> str:
    """Where it goes; one that is a secret is looked at only here."""
    return webhook.address(getattr(target, way), f'`{way}` of notify target "{target.name}"')


def _mail(target: Target, own: MailTarget, message: Message) -> None:
    from mayfly.edge import mail  # noqa: PLC0415  heavy, and few have it

    host, _, port = own.server.rpartition(":")
    password = credentials.read(own.password) if own.password is not None else None
    server = mail.Server(host.strip("[]"), int(port), own.tls, target.ca, own.user, password)
    to = target.whom(message.notice.user)
    if not to:
        raise Refused(
            f'notify target "{target.name}" writes to jobs\' owners alone, and this is about no job'
        )
    mail.send(server, own.sender, to, message.title, message.text)


def _priority(message: Message) -> int:
    if message.notice.kind is Kind.BEGAN:
        return URGENT if message.notice.severity == "error" else USUAL
    return CALM if message.notice.kind is Kind.ENDED else USUAL


def _escaped(text: str) -> str:
    """What Slack reads as markup else, a mention of everybody included; and Mattermost and Rocket.Chat."""
    told = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return EVERYBODY.sub("@\u200b", told)


def _document(message: Message) -> dict[str, object]:
    notice = message.notice
    fields: dict[str, object] = {
        name: value for name, value in notice.fields().items() if name not in {"where", "duration"}
    }
    return {
        "schema": SCHEMA,
        "title": message.title,
        **fields,
        "text": message.text,
        "condition": notice.text,
        "slots": list(notice.slots),
        "seconds": round(notice.seconds, 3),
        "exit_code": notice.exit_code,
        "at": rfc3339(notice.at),
    }
