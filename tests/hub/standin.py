"""A stand-in of the Hugging Face Hub on this machine: its addresses and answers, as far as its library needs them."""

import base64
import hashlib
import importlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secretsecretsecret"
ME = "me"

_LARGE = (".safetensors", ".png", ".bin")
_NAME = r"(?P<repository>[^/]+/[^/]+)"
_ROUTES = {
    name: re.compile(pattern)
    for name, pattern in {
        "create": r"/api/repos/create",
        "validate": r"/api/validate-yaml",
        "preupload": rf"/api/models/{_NAME}/preupload/(?P<revision>.+)",
        "commit": rf"/api/models/{_NAME}/commit/(?P<revision>.+)",
        "branch": rf"/api/models/{_NAME}/branch/(?P<revision>.+)",
        "info": rf"/api/models/{_NAME}(?:/revision/(?P<revision>.+))?",
        "batch": rf"/{_NAME}\.git/info/lfs/objects/batch",
        "lfs": r"/lfs/(?P<oid>[0-9a-f]{64})",
        "resolve": rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)",
    }.items()
}


@dataclass
class Repository:
    """A repository: its branches and its commits, each with all files."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Put other files in the place of those of a branch."""
        told = repr((len(self.commits), branch, sorted(files))).encode()
        sha = hashlib.sha1(told, usedforsecurity=False).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha

    def at(self, revision: str) -> str | None:
        """Return the commit of a revision."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)


class Hub(ThreadingHTTPServer):
    """The server: its repositories, and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.sizes: dict[str, int] = {}
        self.down: int | None = None

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def elsewhere(self) -> str:
        """The address by another name, as of the servers that keep large files."""
        return f"http://localhost:{self.server_port}"

    def put(self, name: str, files: Mapping[str, bytes], **options: Any) -> Repository:
        """Make a repository that holds files."""
        self.repositories[name] = Repository(**options)
        self.repositories[name].commit(files)
        return self.repositories[name]

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return what a repository holds."""
        repository = self.repositories[name]
        return repository.commits[repository.at(revision) or ""]


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *given: Any) -> None:
        """Say nothing."""

    def _do(self) -> None:
        path, self.body = unquote(urlsplit(self.path).path), self._read()
        self.server.asked.append(f"{self.command} {path}")
        if self.server.down is not None:
            told = f"out of order for {self.headers.get('Authorization')}"
            self._refuse(self.server.down, "", told)
            return
        for name, pattern in _ROUTES.items():
            if found := pattern.fullmatch(path):
                getattr(self, f"_{name}")(**found.groupdict())
                return
        self._answer(404, {"error": f"no {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = _do  # noqa: N815 - names that the base class asks for

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str = "", **headers: str) -> None:
        self._answer(status, {"error": message or code}, {"X-Error-Code": code, "X-Error-Message": message, **headers})

    @property
    def _knows(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, repository: str) -> Repository | None:
        """Return a repository that the asker may see; else refuse."""
        known = self.server.repositories.get(repository)
        if known is None or (known.private and not self._knows):
            self._refuse(404 if self._knows else 401, "RepoNotFound", "Repository not found")
            return None
        if known.gated:
            self._refuse(403, "GatedRepo", "Access to this model is restricted")
            return None
        return known

    def _may_write(self, repository: str) -> bool:
        if not self._knows:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif not repository.startswith(f"{ME}/"):
            self._refuse(403, "", f"You don't have the rights to create a model under {repository.partition('/')[0]}")
        else:
            return True
        return False

    def _create(self) -> None:
        given = json.loads(self.body)
        name = f"{given['organization'] or ME}/{given['name']}"
        if not self._may_write(name):
            return
        there = name in self.server.repositories
        if not there:
            private = given.get("visibility") == "private" or bool(given.get("private"))
            self.server.repositories[name] = Repository(private)
            self.server.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        self._answer(409 if there else 200, {"url": f"{self.server.address}/{name}", "name": name})

    def _validate(self) -> None:
        assert json.loads(self.body)["content"].startswith("---\n")
        self._answer(200, {"errors": [], "warnings": [{"message": "a warning that nobody wants to read"}]})

    def _info(self, repository: str, revision: str | None) -> None:
        if (known := self._found(repository)) is None:
            return
        sha = known.at(revision or "main")
        if sha is None:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        siblings = [{"rfilename": name} for name in known.commits[sha]]
        told = {"id": repository, "modelId": repository, "sha": sha, "private": known.private, "siblings": siblings}
        self._answer(200, {**told, "tags": [], "downloads": 0, "likes": 0})

    def _branch(self, repository: str, revision: str) -> None:
        if (known := self._found(repository)) is None or not self._may_write(repository):
            return
        there = revision in known.branches
        known.branches.setdefault(revision, known.branches["main"])
        self._answer(409 if there else 200, {})

    def _preupload(self, repository: str, revision: str) -> None:
        files = [each["path"] for each in json.loads(self.body)["files"]]
        modes = {True: "lfs", False: "regular"}
        told = [{"path": each, "uploadMode": modes[each.endswith(_LARGE)], "shouldIgnore": False} for each in files]
        self._answer(200, {"files": told})

    def _batch(self, repository: str) -> None:
        given = [(each["oid"], each["size"]) for each in json.loads(self.body)["objects"]]
        objects = [
            {"oid": oid, "size": size}
            | (
                {}
                if oid in self.server.large
                else {"actions": {"upload": {"href": f"{self.server.address}/lfs/{oid}"}}}
            )
            for oid, size in given
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _lfs(self, oid: str) -> None:
        if self.command == "PUT":
            assert hashlib.sha256(self.body).hexdigest() == oid
            self.server.large[oid] = self.body
            self._answer(200, {})
        else:
            self._answer(200, self.server.large[oid])

    def _commit(self, repository: str, revision: str) -> None:
        if (known := self._found(repository)) is None or not self._may_write(repository):
            return
        files = dict(known.commits[known.branches[revision]])
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        sha = known.commit(files, revision)
        self._answer(
            200, {"success": True, "commitOid": sha, "commitUrl": f"{self.server.address}/{repository}/commit/{sha}"}
        )

    def _resolve(self, repository: str, revision: str, file: str) -> None:
        if (known := self._found(repository)) is None:
            return
        sha = known.at(revision)
        if sha is None:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        if file not in known.commits[sha]:
            self._refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": sha})
            return
        content = known.commits[sha][file]
        digest = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": sha, "ETag": f'"{digest[:40]}"'}
        if file in self.server.sizes:
            headers["Content-Length"] = headers["X-Linked-Size"] = str(self.server.sizes[file])
        if file.endswith(_LARGE):
            self.server.large[digest] = content
            size = headers.pop("X-Linked-Size", str(len(content)))
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": size, "Content-Length": "0"}
            self._answer(302, b"", {**headers, "Location": f"{self.server.elsewhere}/lfs/{digest}"})
            return
        self._answer(200, content, headers)


def environment(address: str, home: Path, **more: str) -> dict[str, str]:
    """Return what tells the library of the Hub where it is, and to leave everything else alone."""
    told = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    return {**told, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0", **more}


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve an empty stand-in while the block lasts."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def told(variables: Mapping[str, str]) -> Iterator[None]:
    """Let the library of the Hub, which reads its environment as it is imported, know of variables in the block."""
    before = _taken_out()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    try:
        with mock.patch.dict(os.environ, {**kept, **variables}, clear=True):
            importlib.invalidate_caches()
            yield
    finally:
        _taken_out()
        sys.modules.update(before)


def _taken_out() -> dict[str, Any]:
    names = [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]
    return {name: sys.modules.pop(name) for name in names}
