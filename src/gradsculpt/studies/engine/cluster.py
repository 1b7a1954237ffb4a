"""The way to a Ray cluster: whether somebody answers at its address, and what is wrong where nobody does."""

import os
import socket
from pathlib import Path
from typing import Any

from gradsculpt.errors import ArgumentError, RunError, first_line

_ANSWER = 5.0  # seconds that a cluster has for answering at all
_CLIENT, _TOKEN = "ray://", "~/.ray/auth_token"
_SETTINGS = b"\x04"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5
"""How a call to a Ray cluster begins: HTTP/2, with no settings of ours; it answers with its own settings."""

_OPTIONS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_py_gcs_connect_timeout_s": "10",
    "RAY_agent_register_timeout_ms": "120000",  # a busy machine takes long to start a process
}


def ray() -> Any:
    """Return the package, or raise an `ArgumentError` that says what to install."""
    for name, value in _OPTIONS.items():  # which Ray reads as it is imported
        os.environ.setdefault(name, value)
    if "RAY_AUTH_TOKEN" in os.environ or Path(os.environ.get("RAY_AUTH_TOKEN_PATH", _TOKEN)).expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray as package
        import ray.exceptions
    except ImportError as error:
        raise ArgumentError(
            f"--ray needs Ray, which cannot be imported ({first_line(error, kind=False)}); install gradsculpt[ray], or "
            "pass --workers for the cores of this machine."
        ) from error
    return package


def check_answering(address: str) -> None:
    """Raise an error if an address is none, or nobody is there: Ray itself would wait for minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address  # which is what auto means to Ray
    if address in ("auto", "local"):
        return
    host, colon, port = address.removeprefix(_CLIENT).rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 1 << 16) or "/" in host:
        raise ArgumentError(
            f"--ray {address} is no address of a cluster; pass HOST:PORT, ray://HOST:PORT, auto for the one that runs "
            "on this machine, or local to start one."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER) as connection:
            connection.settimeout(_ANSWER)
            connection.sendall(_HELLO)
            greeted = os.environ.get("RAY_USE_TLS", "0") not in ("", "0") or connection.recv(9)[3:4] == _SETTINGS
    except (OSError, UnicodeError) as error:  # the latter of a name that no machine can have
        told = getattr(error, "strerror", None) or error
        raise RunError(
            f"nobody answers at {address} ({told}), so nothing was begun; start a cluster with "
            "ray start --head, which tells its address, or pass local."
        ) from error
    if not greeted:
        raise RunError(
            f"what answers at {address} is no Ray cluster, so nothing was begun; pass the address that ray start "
            "--head tells."
        )


def unreached(address: str, error: Exception) -> RunError:
    """Return what is said when Ray has failed to reach a cluster, or to start one."""
    causes, cause = list[BaseException](), error.__cause__ or error.__context__
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any("InvalidAuthToken" in str(each) or "Unauthenticated" in str(each) for each in (error, *causes)):
        return RunError(
            f"the Ray cluster at {address} wants a token that it was not given, so nothing was begun; set "
            f"RAY_AUTH_TOKEN, or copy {_TOKEN} from its first machine."
        )
    place = "be started here" if address == "local" else f"be reached at {address}"
    return RunError(
        f"a Ray cluster cannot {place} ({first_line(error).rstrip('.')}), so nothing was begun; start one with "
        "ray start --head, or pass --workers for the cores of this machine."
    )
