"""The page for everybody: on a phone and a wide screen, in light and dark, by keyboard, read aloud."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.visiting import NARROW, START, TABS, WIDE, Visit, said

# What a screen reader would call a control, as far as it is told by attributes and labels.
_UNNAMED = """() => [...document.querySelectorAll('input, textarea, select, button, a[href], [role=slider]')]
    .filter(each => each.checkVisibility() && !each.closest('[aria-hidden=true]'))
    .filter(each => ![each.getAttribute('aria-label'), each.title, each.innerText,
                      ...[...(each.labels || [])].map(label => label.innerText)].some(name => (name || '').trim()))
    .map(each => each.outerHTML.slice(0, 200))"""
_UNTOLD = """() => [...document.images].filter(each => each.checkVisibility() && !each.alt.trim()).map(
    each => each.outerHTML.slice(0, 200))"""
# Names of what is nothing, which are not read; headings that leave out a level.
_NOTHING = """() => [...document.querySelectorAll('div[aria-label]:not([role]), span[aria-label]:not([role])')]
    .filter(each => each.checkVisibility()).map(each => each.outerHTML.slice(0, 200))"""
_JUMPS = """() => {
  const shown = [...document.querySelectorAll('h1, h2, h3, h4')].filter(each => each.checkVisibility());
  return shown.filter((each, i) => i && each.tagName[1] > +shown[i - 1].tagName[1] + 1).map(each => each.innerText);
}"""
_FITS = "() => document.scrollingElement.scrollWidth <= innerWidth"
_PALE = """() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const [r, g, b, a = 1] = parts(getComputedStyle(each).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const each of document.querySelectorAll('body *')) {
    const own = [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !each.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (each.closest('[aria-hidden=true], :disabled')) continue;
    const style = getComputedStyle(each), ground = behind(each);
    const [r, g, b, a = 1] = parts(style.color);
    const ink = [r, g, b].map((v, i) => v * a + ground[i] * (1 - a));
    const [low, high] = [light(ink), light(ground)].sort((x, y) => x - y);
    const contrast = (high + .05) / (low + .05), large = parseFloat(style.fontSize) >= 24;
    if (contrast < (large ? 3 : 4.5)) found.add(`${each.innerText.trim().slice(0, 40)}: ${contrast.toFixed(1)}`);
  }
  return [...found];
}"""
"""Texts that stand out from what is behind them less than the Web Content Accessibility Guidelines ask for (AA)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_tab_fits_is_labelled_and_legible(
    visit: Callable[..., Visit], size: Mapping[str, int], scheme: str, tmp_path: Path
) -> None:
    visitor = visit(viewport=size, color_scheme=scheme)
    page = visitor.page
    panel = visitor.tab("Explain")
    panel.locator(".thumbnail-item").nth(3).click()
    said(panel, "then press Explain")
    visitor.press(panel, "Explain")
    said(panel, "Done.")
    panel = visitor.tab("Compare")
    visitor.press(panel, "Compare")
    said(panel, "Done.")
    dark = page.evaluate("() => document.body.classList.contains('dark')")
    assert dark == (scheme == "dark")
    for tab in TABS:
        visitor.tab(tab)
        page.screenshot(path=tmp_path / f"{tab}.png", full_page=True)
        assert page.evaluate(_FITS), f"{tab} is wider than the window"
        assert page.evaluate(_UNNAMED) == []
        assert page.evaluate(_UNTOLD) == []
        assert page.evaluate(_NOTHING) == []
        assert page.evaluate(_JUMPS) == []
        assert page.evaluate(_PALE) == []


def test_what_is_unlabelled_pale_or_too_wide_would_be_seen(visitor: Visit) -> None:
    spoil = "html => document.querySelector('main').insertAdjacentHTML('beforeend', html)"
    visitor.page.evaluate(spoil, '<input><button></button><img src="data:," width="9" height="9">')
    visitor.page.evaluate(spoil, '<h3>deep</h3><span aria-label="nobody">.</span>')
    assert visitor.page.evaluate(_JUMPS) == ["deep"]
    assert len(visitor.page.evaluate(_NOTHING)) == 1
    visitor.page.evaluate(spoil, '<p style="color: #bbb; background: #fff">pale</p>')
    assert len(visitor.page.evaluate(_UNNAMED)) == 2
    assert len(visitor.page.evaluate(_UNTOLD)) == 1
    assert visitor.page.evaluate(_PALE) == ["pale: 1.9"]
    visitor.page.evaluate("() => document.body.append(document.createElement('hr'))")
    visitor.page.evaluate("() => { document.body.lastChild.style.width = '3000px' }")
    assert not visitor.page.evaluate(_FITS)


def test_the_keyboard_alone_explains(visitor: Visit) -> None:
    page, panel = visitor.page, visitor.tab("Explain")
    said(panel, START)
    expect(panel.locator(".thumbnail-item").first).to_be_visible()

    def go_to(wanted: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            name = page.evaluate(
                "() => (document.activeElement.ariaLabel || document.activeElement.innerText || '').trim()"
            )
            if name == wanted:
                return
        raise AssertionError(f"{wanted} is not reached by Tab")

    caption = panel.locator(".thumbnail-item").first.inner_text().strip()
    go_to(caption)
    page.keyboard.press("Enter")
    said(panel, "then press Explain")
    go_to("Explain")
    page.keyboard.press("Enter")
    expect(panel.get_by_role("list", name="Maps of")).to_be_visible()
