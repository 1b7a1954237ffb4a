"""A picture is attacked, and an attack that is cancelled ends within seconds."""

import time

from playwright.sync_api import Locator, expect

from tests.browser.visiting import Visit, said

SECONDS = 30.0
"""In which an attack has ended after it is cancelled, on a machine that has a lot to do."""


def chosen(visitor: Visit) -> Locator:
    panel = visitor.tab("Attack")
    panel.locator(".thumbnail-item").nth(2).click()
    said(panel, "Chosen:")
    return panel


def test_an_attack_is_shown_for_each_network(visitor: Visit) -> None:
    panel = chosen(visitor)
    panel.get_by_role("checkbox", name="sculpted").check()
    visitor.set(panel, "Steps", 6)
    visitor.set(panel, "How far the picture may be moved", 8)
    visitor.press(panel, "Attack")
    said(panel, "Done.")
    for network in ("plain", "sculpted"):
        shown = panel.get_by_role("list", name=f"Pictures and maps of {network}")
        heads = [each.inner_text().partition("\n")[0] for each in shown.get_by_role("listitem").all()]
        assert sorted(heads) == ["Attacked", "Difference", "Map after", "Map before", "Picture"]
        told = panel.get_by_role("region", name=network, exact=True).inner_text()
        for words in ("amplified", "SSIM", "top"):
            assert words in told
        sources = [each.get_attribute("src") for each in shown.get_by_role("img").all()]
        assert len(set(sources)) == len(sources)


def test_a_cancelled_attack_ends_within_seconds_and_the_server_works_on(visitor: Visit) -> None:
    panel = chosen(visitor)
    panel.get_by_role("checkbox", name="sculpted").check()
    visitor.choose(panel, "Attribution whose map is attacked", "smoothgrad")
    visitor.set(panel, "Steps", 256)
    visitor.press(panel, "Attack")
    expect(panel.get_by_role("progressbar")).to_be_visible()
    pressed = time.monotonic()
    visitor.press(panel, "Cancel the attack")
    said(panel, "Cancelled.")
    assert time.monotonic() - pressed < SECONDS
    expect(panel.get_by_role("progressbar")).to_have_count(0)

    visitor.choose(panel, "Attribution whose map is attacked", "gradient")
    visitor.set(panel, "Steps", 2)
    pressed = time.monotonic()
    visitor.press(panel, "Attack")
    said(panel, "Done.")
    assert time.monotonic() - pressed < SECONDS  # nobody is waited for
