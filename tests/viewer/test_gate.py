"""The gate lets through what the page itself asks for, and answers all else with a sentence."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.viewer.gate import POLICY, Gate

HOST = "127.0.0.1:7860"
SECRET = "/srv/runs/secret.txt"
UPLOAD = "/gradio_api/upload"


def ask(
    path: str,
    folder: Path,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: tuple[bytes, ...] = (b"",),
    status: int = 200,
    error: Exception | None = None,
    kept: int = 2**31,
) -> tuple[int, dict[bytes, bytes], str, list[int]]:
    """Return the status, headers and text of the answer to a request, and how much of it reached the app."""
    reached, sent = list[int](), list[Any]()
    parts = list(body)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(0)
        while True:
            message = await receive()
            reached[0] += len(message["body"])
            if not message["more_body"]:
                break
        if error is not None:
            raise error
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": f"of {SECRET}".encode()})

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"host": HOST, **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in named.items() if value]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    asyncio.run(Gate(app, folder, 1000, kept)(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"].decode(), reached


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/theme.css"),
        ("GET", "/assets/index-1.js"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/queue/data"),
        ("GET", "/gradio_api/heartbeat/a1b2"),
        ("GET", "/gradio_api/file=/tmp/x/map.npy"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", UPLOAD),
        ("POST", "/gradio_api/cancel"),
        ("POST", "/gradio_api/run/predict"),
    ],
)
def test_what_the_page_asks_for_comes_through(method: str, path: str, tmp_path: Path) -> None:
    for origin in ("", f"http://{HOST}"):
        status, headers, text, _ = ask(path, tmp_path, method=method, headers={"origin": origin})
        assert status == 200
        assert text == f"of {SECRET}"
        assert headers[b"content-security-policy"].decode() == POLICY


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=http://127.0.0.1:8080/admin"),
        ("GET", "/gradio_api/file=file:///etc/passwd"),
        ("GET", "/gradio_api/file=etc/passwd"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1/x"),
        ("GET", "/gradio_api/vibe-code"),
        ("POST", "/gradio_api/vibe-code"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/call/x"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/queue/join"),
        ("POST", "/config"),
        ("PUT", UPLOAD),
        ("GET", "/config\n"),
        ("GET", "//evil.example/"),
    ],
)
def test_nothing_else_does(method: str, path: str, tmp_path: Path) -> None:
    status, headers, text, reached = ask(path, tmp_path, method=method)
    assert (status, reached) == (404, [])
    assert "There is nothing of that name here" in text
    assert b"content-security-policy" in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:7860"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost@evil.example"},
        {"host": "[::1"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"https://{HOST}"},
        {"host": "evil.example", "origin": "http://evil.example"},
    ],
)
def test_no_other_page_is_answered(headers: dict[str, str], tmp_path: Path) -> None:
    for method, path in (("GET", "/config"), ("POST", UPLOAD), ("POST", "/gradio_api/queue/join")):
        status, _, text, reached = ask(path, tmp_path, method=method, headers=headers)
        assert (status, reached) == (403, [])
        assert "answers only itself" in text


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "LOCALHOST:7860", "[::1]:7860"])
def test_other_names_of_this_machine_are_known(host: str, tmp_path: Path) -> None:
    assert ask("/", tmp_path, headers={"host": host, "origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize(("path", "most"), [(UPLOAD, 1000 + 2**16), ("/gradio_api/queue/join", 2**20)])
@pytest.mark.parametrize("told", [True, False])
def test_what_is_sent_is_bounded(path: str, most: int, told: bool, tmp_path: Path) -> None:
    for size, fine in ((most, True), (most + 1, False)):
        headers = {"content-length": str(size)} if told else {}
        body = (b"x" * (size // 2), b"x" * (size - size // 2))
        status, _, text, reached = ask(path, tmp_path, method="POST", headers=headers, body=body)
        assert status == (200 if fine else 413)
        if not fine:
            assert "more than is taken at once" in text
            assert sum(reached) <= most
    for length in ("-1", "x", "9" * 5000):
        assert ask(path, tmp_path, method="POST", headers={"content-length": length})[0] == 413


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_bytes(b"x" * 900)
    for size, expected in ((100, 200), (101, 507)):
        headers = {"content-length": str(size)}
        status, _, text, _ = ask(UPLOAD, tmp_path, method="POST", headers=headers, kept=1000)
        assert status == expected
    assert "try again in an hour" in text


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422, 500, 503])
def test_errors_of_others_are_sentences(status: int, tmp_path: Path) -> None:
    for path, method in (("/config", "GET"), (UPLOAD, "POST"), ("/config", "HEAD")):
        got, headers, text, _ = ask(path, tmp_path, method=method, status=status)
        assert got == status
        assert "secret" not in text
        if method == "HEAD":
            assert text == ""
        else:
            assert int(headers[b"content-length"]) == len(text.encode())
            assert (text if path == UPLOAD else json.loads(text)["detail"]).endswith(".")


def test_what_is_raised_is_a_sentence(tmp_path: Path) -> None:
    status, _, text, _ = ask("/config", tmp_path, error=ValueError(f"no {SECRET}"))
    assert status == 500
    assert "secret" not in text
    assert "number" in json.loads(text)["detail"]
