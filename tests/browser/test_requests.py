"""Nothing is asked of anybody but the server of the page, neither by the browser nor by the server."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.served import Server
from tests.browser.visiting import TABS, Visit

_ASK = "() => fetch('https://example.com/').then(() => 'answered', () => 'refused')"


def test_no_request_leaves_this_machine(visitor: Visit, server: Server) -> None:
    for tab in TABS:
        visitor.tab(tab)
    visitor.page.reload()
    expect(visitor.page.get_by_role("tab", name="Explain")).to_be_visible()
    visitor.faults.clear()  # what was under way was broken off
    assert len(visitor.asked) > 10
    assert visitor.elsewhere == []
    assert server.hosts == set()


def test_the_browser_refuses_to_ask_others(browser: Browser, server: Server) -> None:
    visitor = Visit(browser, server.address())
    assert visitor.page.evaluate(_ASK) == "refused"
    assert any("Content Security Policy" in fault for fault in visitor.faults)
    visitor.context.close()


def test_without_its_rule_the_page_asks_nobody_either(browser: Browser, server: Server) -> None:
    visitor = Visit(browser, server.address(), bypass_csp=True)
    for tab in TABS:
        visitor.tab(tab)
    assert visitor.elsewhere == []
    visitor.context.route("**/*", lambda route: route.abort())
    assert visitor.page.evaluate(_ASK) == "refused"
    assert visitor.elsewhere == ["https://example.com/"]
    with pytest.raises(AssertionError):
        visitor.close()
