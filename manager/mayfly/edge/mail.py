"""One mail by SMTP: bounded in time as a whole, and whatever goes wrong is one of our faults."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from errno import ENOENT
from smtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPException,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault, Passing, Refused, TakenBySome
from mayfly.edge.lasting_thread import begun
from mayfly.edge.web import clean

PIECE = 15.0  # seconds for one answer of the server
WHOLE = 60.0  # for all of them: a server may drip


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, and as whom it is spoken to."""

    host: str
    port: int
    tls: str  # "starttls", "tls" or "none"
    ca: str | None = None  # a PEM file of authorities beside the system's
    user: str | None = None
    password: Secret | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def send(server: Server, sender: str, to: Sequence[str], title: str, text: str) -> None:
    """Hand over one mail to all of ``to``; a ``Fault`` where the server does not take it, ``TakenBySome``
    where it does not for all.
    """
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, ", ".join(to), title
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain=sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail.set_content(text + "\n")
    try:
        with _connected(server) as smtp:
            if server.user is not None and server.password is not None:
                smtp.login(server.user, server.password.reveal())
            refused = smtp.send_message(mail, sender, list(to))
    except (SMTPException, OSError, ValueError) as error:
        raise _fault(server, error) from None
    if refused:  # of all it is an error of the library's own
        raise TakenBySome(str(_fault(server, SMTPRecipientsRefused(refused))))


class _Session(SMTP):
    """A session over a connection that is there: what ``smtplib`` makes itself nobody could end."""

    def __init__(self, host: str, connection: socket.socket) -> None:
        super().__init__(timeout=PIECE)
        self._host = host  # whose certificate `starttls` wants to see
        self.sock, self.file = connection, None
        code, words = self.getreply()
        if code != 220:
            raise SMTPConnectError(code, words)


@contextmanager
def _connected(server: Server) -> Iterator[SMTP]:
    """A session, encrypted as it is to be, that is over when its time is."""
    context = None
    if server.tls != "none":
        context = ssl.create_default_context()
        if server.ca is not None:
            _add_authority(context, server.ca)
    with socket.create_connection((server.host, server.port), PIECE) as plain:
        copy = plain.dup()  # TLS puts another in its place
        timer = threading.Timer(WHOLE, lambda: _shut(copy))
        timer.daemon = True
        if not begun(timer):
            copy.close()
            raise OSError("no thread is to be had for it")
        try:
            connection: socket.socket = plain
            if context is not None and server.tls == "tls":
                connection = context.wrap_socket(plain, server_hostname=server.host)
            with closing(connection):
                smtp = _Session(server.host, connection)
                if server.tls == "starttls":
                    smtp.starttls(context=context)
                yield smtp
                with suppress(SMTPException, OSError):  # it has taken the mail
                    smtp.quit()
                smtp.close()
        finally:
            timer.cancel()
            copy.close()


def _add_authority(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ValueError) as error:  # ssl's own is an OSError
        why = error.strerror if isinstance(error, OSError) and error.errno == ENOENT else None
        told = why or "it must be PEM, and readable"
        raise Refused(f"`ca` {file} cannot be taken: {told}") from None


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _fault(server: Server, error: Exception) -> Fault:
    """What went wrong, and whether a person has to mend it."""
    what = f"the mail server {server}"
    match error:
        case SMTPAuthenticationError():
            return Refused(f"{what} does not take the user and password: {_said(error)}")
        case SMTPNotSupportedError():
            return Refused(
                f"{what} does not offer what `tls` and `user` ask for: {clean(str(error))}"
            )
        case SMTPRecipientsRefused(recipients=recipients):
            code, words = next(iter(recipients.values()))
            named = clean(", ".join(recipients))
            told = f"{what} does not take mail for {named}: {clean(f'{code} {_text(words)}')}"
            return Refused(told)  # a mailbox that is full, too: what is for others goes on
        case SMTPServerDisconnected() if isinstance(error.__context__, TimeoutError):
            return Passing(f"{what} said nothing for {PIECE:g} s")
        case SMTPServerDisconnected():
            return Passing(f"{what} closed the connection")
        case SMTPResponseException():
            told = f"{what} does not take the mail: {_said(error)}"
            return Refused(told) if error.smtp_code >= 500 else Passing(told)
        case ssl.SSLCertVerificationError():
            return Refused(
                f"{what} shows a certificate that is not trusted ({clean(error.verify_message)}): name its "
                "authority in `ca`, check the host's clock"
            )
        case ssl.SSLError():
            return Refused(f"{what} speaks no TLS at that port: check `server` and `tls`")
        case ValueError():
            return Refused(f"{what} was not asked: {clean(str(error))}")
        case OSError():
            return Passing(f"{what} gave no answer: {clean(error.strerror or str(error))}")
    return Passing(f"{what} was not understood: {clean(str(error))}")


def _said(error: SMTPResponseException) -> str:
    return clean(f"{error.smtp_code} {_text(error.smtp_error)}")


def _text(words: bytes | str) -> str:
    return words.decode(errors="replace") if isinstance(words, bytes) else words
