"""Visitors of the page, as browsers and proxies make them."""

from __future__ import annotations

import html
import http.client
import json
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mayfly.core.commands import Caller

ME = pwd.getpwuid(os.getuid()).pw_name
HEADER = "X-Remote-User"
ANN = Caller(0, 4242, 4242, "ann", operator=False)
# What might act on a browser, a terminal or a line's order, in each field.
HOSTILE = "<script>alert(1)</script>\x1b[31m\"'&\u202e</td>\x00\ud800"


def known(name: str) -> Caller | str:
    return {"ann": ANN, "ben": replace(ANN, uid=4243, name="ben")}.get(name, f"{name} is nobody")


@dataclass
class Browser:
    """Asks the page as a browser does, without keeping anything."""

    address: tuple[str, int]
    headers: Mapping[str, str]

    def get(self, path: str, method: str = "GET", body: str | None = None, **more: str) -> Any:
        client = http.client.HTTPConnection(*self.address, timeout=30)
        headers = {**self.headers, **{k.replace("_", "-"): v for k, v in more.items()}}
        client.request(method, path, body, headers)
        found = client.getresponse()
        data = found.read().decode()
        client.close()
        return found, data

    def page(self, path: str = "/", **more: str) -> str:
        found, data = self.get(path, **more)
        assert found.status == 200, data
        return str(data)

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """What comes as server-sent events."""
        client = http.client.HTTPConnection(*self.address, timeout=30)
        client.request("GET", path, headers=dict(self.headers))
        found = client.getresponse()
        assert found.status == 200, found.read()
        name = ""
        for line in iter(found.readline, b""):
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: "):
                yield name, json.loads(text.removeprefix("data: "))


Serve = Callable[..., Browser]


def cells(page: str, section: str) -> list[list[str]]:
    """The rows of a section's table, as texts."""
    inside = re.search(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)
    assert inside, section
    rows = re.findall(r"<tr>(.*?)</tr>", inside[1], re.DOTALL)
    texts = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]+>", "", one)) for one in row] for row in texts if row]


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]
