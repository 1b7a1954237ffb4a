"""Who may ask the page, for what, and how much at once: checked before anything of a request is read."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gradsculpt.errors import GradsculptError
from gradsculpt.viewer.told import sentence

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's scripts name hosts of fonts, sign-ins and an API: the browser may ask none of them.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-src 'self'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

_HERE = ("127.0.0.1", "localhost", "::1")
_UPLOAD = "/gradio_api/upload"

# What the page itself asks for; Gradio can do more: fetch other addresses, edit its program, run what it is sent.
_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/pwa_icon(/\d+)?|/(assets|static|svelte)/.+"
    r"|/gradio_api/(app_id|info/?|startup-events|theme\.css|queue/data|upload_progress|heartbeat/[\w.-]+|file=/.+)"
)
_WRITTEN = re.compile(rf"{_UPLOAD}|/gradio_api/(queue/join|cancel|reset/?|run/\w+/?)")

_ASKED = 2**20  # bytes of a request that uploads nothing
_KEPT = 2**31  # bytes of all that is uploaded, until it is removed
_MORE = 2**16  # bytes of a request around the file that it uploads


class _RefusedError(GradsculptError):
    """A request that is not answered; its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Gate:
    """Lets through what the page itself asks for, from this machine, in bounds; of all else it says so in a sentence.

    The browser is told with every answer that it may ask this server alone.

    Args:
        app: What answers.
        folder: Where uploads are kept.
        upload_bytes: Size of what may be uploaded at once.
        kept_bytes: Size of all uploads together.
    """

    def __init__(self, app: ASGIApp, folder: Path, upload_bytes: int, kept_bytes: int = _KEPT) -> None:
        self._app, self._folder, self._upload, self._kept = app, folder, upload_bytes, kept_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        begun, failed = False, 0

        async def guarded(message: Message) -> None:
            nonlocal begun, failed
            if message["type"] == "http.response.start":
                begun = True
                if message["status"] >= 400:  # whose text may name files
                    failed = message["status"]
                    return
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            elif failed:
                return
            await send(message)

        try:
            most = self._checked(scope)
            await self._app(scope, _counted(receive, most), guarded)
        except _RefusedError as error:
            failed, said = error.status, str(error)
        except Exception as error:
            if begun and not failed:
                raise
            failed, said = 500, sentence(error)
        else:
            said = _said(failed)
        if failed:
            await _refuse(scope, send, failed, said)

    def _checked(self, scope: Scope) -> int:
        """Return how many bytes a request may have; raise `_RefusedError` if it is none of the page's."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        # A page elsewhere may give its own name this machine's address, or send a form here.
        if _name(f"//{host}") not in _HERE or (origin is not None and origin not in (f"http://{host}",)):
            raise _RefusedError(403, "This page answers only itself; open it at the address that it printed.")
        method, path = scope["method"], scope["path"]
        known = _READ if method in ("GET", "HEAD") else _WRITTEN if method == "POST" else None
        if known is None or not known.fullmatch(path):
            raise _RefusedError(404, _said(404))
        most = self._upload + _MORE if path == _UPLOAD else _ASKED
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most:
            raise _too_much(most)
        if path == _UPLOAD and _size(self._folder) + int(length) > self._kept:
            raise _RefusedError(507, "As many files are kept as may be; try again in an hour, or start the page anew.")
        return most


def _counted(receive: Receive, most: int) -> Receive:
    """Return what reads a request, and raises `_RefusedError` once it is longer than it may be."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise _too_much(most)
        return message

    return counted


def _too_much(most: int) -> _RefusedError:
    return _RefusedError(413, f"This is more than is taken at once, {most // 2**20} MiB; send less.")


def _said(status: int) -> str:
    """Return what is said in place of the text of an error."""
    if status in (403, 404, 405):
        return "There is nothing of that name here; reload the page."
    if status == 413:
        return "This is more than is taken at once; send less."
    if status == 503:
        return "Too many wait already; try again in a minute."
    return "What was sent cannot be read; reload the page, and try again."


async def _refuse(scope: Scope, send: Send, status: int, said: str) -> None:
    # Gradio's scripts show the text of an upload as it is, and the detail of all else.
    plain = scope["path"] == _UPLOAD
    body = said.encode() if plain else json.dumps({"detail": said}).encode()
    kind = b"text/plain; charset=utf-8" if plain else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _size(folder: Path) -> int:
    """Return the size of all files below a folder, of which some may be removed meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total
