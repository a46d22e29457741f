"""A server with a certificate of its own, in the network of a private Engine."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.engine.private_engine import PrivateEngine
from tests.fakes.ending import EndsAtOnce


class _Server(EndsAtOnce, ThreadingHTTPServer):
    pass


@contextmanager
def https_server(
    engine: PrivateEngine,
    context: ssl.SSLContext,
    handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler,
) -> Iterator[int]:
    """Its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = _Server(("", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = context.wrap_socket(engine.listen(port), server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
