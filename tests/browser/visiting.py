"""A visitor of the page: a browser of his own, what he does in it, and what it asks of whom."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, FilePayload, Locator, Page, expect

from tests.browser.served import PATIENCE

TABS = ("Explain", "Attack", "Compare", "Class features", "Train, small")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
START = re.compile("Choose a picture")

expect.set_options(timeout=PATIENCE * 1000)


class Visit:
    """One visitor: what he asks for anywhere, and what goes wrong, is written down.

    Args:
        browser: Where he gets a context of his own, as in a private window.
        address: Of the page, which is opened.
        options: Of the context: its size, its colours.
    """

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.address, self.asked, self.faults = address, list[str](), list[str]()
        self.context: BrowserContext = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        self.context.set_default_timeout(PATIENCE * 1000)
        self.page: Page = self.context.new_page()
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda websocket: self.asked.append(websocket.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.goto(address)
        expect(self.page.get_by_role("tab", name="Explain")).to_be_visible()

    @property
    def elsewhere(self) -> list[str]:
        """What was asked of others than the server of the page."""
        own = urlsplit(self.address).netloc
        addresses = [urlsplit(each) for each in self.asked]
        return [each.geturl() for each in addresses if each.scheme not in ("data", "blob") and each.netloc != own]

    def close(self) -> None:
        """Leave the page, from which nothing may have been asked elsewhere, and nothing have gone wrong in it."""
        self.context.close()
        assert self.elsewhere == []
        assert self.faults == []

    def tab(self, name: str) -> Locator:
        """Go to a tab, and return what is in it."""
        tab = self.page.get_by_role("tab", name=name, exact=True)
        if tab.is_visible():
            tab.click()
        else:  # on a narrow page, there is a menu of those for which there is no room
            self.page.get_by_role("button", name="More tabs").click()
            self.page.locator(".overflow-dropdown").get_by_role("button", name=name, exact=True).click()
        panel = self.page.locator("[role=tabpanel]:visible")
        expect(panel).to_have_count(1)
        return panel

    def press(self, panel: Locator, name: str) -> None:
        """Press a button; what the tab's line says after that is new."""
        status(panel).evaluate("line => line.dataset.old = true")
        panel.get_by_role("button", name=name, exact=True).click()

    def upload(self, panel: Locator, file: Path | FilePayload) -> None:
        """Choose a file for the field of a tab that takes one, which is emptied first if there is one in it."""
        chosen = panel.locator("input[type=file]")
        clear = panel.get_by_role("button", name="Clear", exact=True)
        if not chosen.count():
            clear.first.click()
        chosen.first.set_input_files(file)

    def choose(self, panel: Locator, label: str, option: str | re.Pattern[str]) -> str:
        """Choose from a list, and return what is chosen in words."""
        field = panel.get_by_label(label, exact=True)
        field.click()
        wanted = self.page.get_by_role("option", name=option).first
        wanted.click()
        field.blur()
        return field.input_value()

    def set(self, panel: Locator, label: str, value: float) -> None:
        """Set a slider by the number beside it."""
        field = panel.get_by_label(f"number input for {label}")
        field.fill(str(value))
        field.press("Enter")
        field.blur()


def status(panel: Locator) -> Locator:
    """Return the line of a tab that tells how it goes."""
    return panel.locator("[role=status] p")


def said(panel: Locator, text: str | re.Pattern[str]) -> str:
    """Wait until the line of a tab says so, since a button was pressed, and return all of it."""
    line = panel.locator("[role=status] p:not([data-old])")
    expect(line).to_have_text(text if isinstance(text, re.Pattern) else re.compile(re.escape(text)))
    return line.inner_text()


def is_a_sentence(text: str, *secrets: Path) -> bool:
    """Whether a text is for people: no trace, no path, neither of the folders named."""
    folders = ("/tmp", "/home", "/root", "/usr", "site-packages", *map(str, secrets))
    code = ("Traceback", "Error:", "Exception", 'File "', "<class", "None")
    return bool(re.match(r".*[.!…]$", text)) and not any(each in text for each in (*folders, *code))
