"""One server and one browser for all tests of the page, and two small runs to look at."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from gradsculpt.cli.main import main
from tests.browser.served import PATIENCE, Server
from tests.browser.visiting import Visit

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

RUNS = {"plain": "standard", "sculpted": "elastic-net"}
CELLS = ["--data", "cells", "--train-count", "200", "--image-size", "32", "--model", "convnet", "--batch-size", "32"]


def browser_path() -> str | None:
    """Return the browser: that of the variable GRADSCULPT_BROWSER, or the first on the path."""
    return shutil.which(os.environ.get("GRADSCULPT_BROWSER", "")) or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )


def why_not() -> str:
    """Return why tests in a browser do not run; empty if they do."""
    if browser_path() is None:
        return "needs a browser, and finds none: apt install chromium, or set GRADSCULPT_BROWSER to its program"
    if "PYTEST_XDIST_WORKER" in os.environ:
        return "one server and one browser serve all of these tests, in one process: make test-browser"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where there is no browser, and where they would be spread over processes."""
    if reason := why_not():
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runs `plain` and `sculpted`, both with a scorecard."""
    folder = tmp_path_factory.mktemp("runs")
    for name, recipe in RUNS.items():
        run = str(folder / name)
        assert main(["train", "--recipe", recipe, *CELLS, "--epochs", "1", "--threads", "1", "--out", run]) == 0
        assert main(["evaluate", run, "--quick", "--limit", "8"]) == 0
    return folder


@pytest.fixture(scope="session")
def server(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("served"), [str(runs / name) for name in RUNS])
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # As root, Chromium has no sandbox.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=arguments, timeout=PATIENCE * 1000)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[..., Visit]]:
    """Return how a visitor comes; in the end all leave, and what their browsers saw is checked."""
    visits = list[Visit]()

    def visit(**options: Any) -> Visit:
        visits.append(Visit(browser, server.address(), **options))
        return visits[-1]

    yield visit
    for each in visits:
        each.close()


@pytest.fixture
def visitor(visit: Callable[..., Visit]) -> Visit:
    return visit()


@pytest.fixture(scope="session")
def photo() -> Path:
    """Return a photograph: that of a cat, which comes with scikit-image."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "chelsea.png"
