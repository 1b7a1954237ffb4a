"""A photograph is uploaded and explained, and what is shown and downloaded is what the command writes."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Locator, expect

from gradsculpt.cli.main import main
from tests.browser.visiting import START, Visit, said

PREDICTED = "The class that each network predicts"


def explained(visitor: Visit, panel: Locator) -> list[str]:
    """Press Explain, and return what is said of each map, first its name."""
    visitor.press(panel, "Explain")
    said(panel, "Done.")
    maps = panel.get_by_role("list", name="Maps of")
    expect(maps).to_be_visible()
    return [each.inner_text() for each in maps.get_by_role("listitem").all()]


def downloaded(visitor: Visit, panel: Locator, name: str) -> Path:
    with visitor.page.expect_download() as started:
        panel.locator(f"a[download='{name}']").click()
    assert started.value.suggested_filename == name
    return Path(started.value.path())


def by_command(run: Path, photo: Path, method: str, target: str, out: Path) -> npt.NDArray[np.float32]:
    """Return the map that `gradsculpt explain` writes."""
    words = ["explain", str(run), str(photo), "--method", method, "--target", target]
    assert main([*words, "--out", str(out)]) == 0
    (written,) = out.rglob("*.npy")
    array: npt.NDArray[np.float32] = np.load(written)
    return array


def same(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> bool:
    """Whether maps are the same but for the order in which numbers were added."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-4, atol=1e-5 * float(np.abs(b).max())))


def test_a_photograph_is_explained_as_the_command_does(visitor: Visit, photo: Path, runs: Path, tmp_path: Path) -> None:
    panel = visitor.tab("Explain")
    said(panel, START)
    visitor.upload(panel, photo)
    said(panel, "then press Explain")
    table = panel.get_by_role("table", name="What plain sees")
    expect(table.get_by_role("row")).to_have_count(6)  # its head, and five classes
    probabilities = [float(each.inner_text().rstrip("%")) for each in table.locator("td").all()]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 100.5

    (first,) = explained(visitor, panel)
    assert first.startswith("plain: gradient")
    for words in ("of its weight lies in", "Gini index", "top 10% of the pixels the network is"):
        assert words in first
    array = np.load(downloaded(visitor, panel, "chelsea.plain.gradient.npy"))
    expected = by_command(runs / "plain", photo, "gradient", "predicted", tmp_path / "predicted")
    assert array.dtype == np.float32
    assert same(array, expected)
    with Image.open(downloaded(visitor, panel, "chelsea.plain.gradient.png")) as image:
        assert image.format == "PNG"

    chosen = visitor.choose(panel, "Class to explain", re.compile(r"^(?!The class).*%\)$")).partition(" (")[0]
    likely = table.get_by_role("rowheader").all_inner_texts()
    assert chosen in likely
    other = likely[1] if chosen == likely[0] else chosen
    visitor.choose(panel, "Class to explain", re.compile(rf"^{other} \("))
    (second,) = explained(visitor, panel)
    assert f"{other}:" in second
    changed = np.load(downloaded(visitor, panel, "chelsea.plain.gradient.npy"))
    assert same(changed, by_command(runs / "plain", photo, "gradient", other, tmp_path / "other"))
    assert not same(changed, array)


def test_maps_of_networks_and_attributions_stand_side_by_side_and_are_shown_as_wished(visitor: Visit) -> None:
    panel = visitor.tab("Explain")
    panel.locator(".thumbnail-item").nth(3).click()
    said(panel, "then press Explain")
    panel.get_by_role("checkbox", name="sculpted").check()
    expect(panel.get_by_role("table")).to_have_count(2)
    visitor.choose(panel, "Attributions", "inputxgradient")
    cells = explained(visitor, panel)
    heads = [cell.partition("\n")[0] for cell in cells]
    assert heads == [f"{n}: {m}" for n in ("plain", "sculpted") for m in ("gradient", "inputxgradient")]

    maps = panel.get_by_role("list", name="Maps of")
    pictures = maps.get_by_role("img")
    changes: tuple[Callable[[], object], ...] = (
        lambda: panel.get_by_label("Signed: for (red) and against (blue) the class").check(),
        lambda: panel.get_by_label("The map over the picture").check(),
        lambda: visitor.set(panel, "Strength of the overlay, in percent", 40),
        lambda: visitor.set(panel, "Clipping: the percentile of a map that becomes the brightest", 90),
    )
    for change in changes:
        before = pictures.first.get_attribute("src") or ""
        change()
        expect(pictures.first).not_to_have_attribute("src", before)
        assert [cell.inner_text() for cell in maps.get_by_role("listitem").all()] == cells  # the same numbers


def test_what_is_missing_is_told(visitor: Visit) -> None:
    panel = visitor.tab("Explain")
    said(panel, START)
    visitor.press(panel, "Explain")
    expect(panel.locator(".gs-failed")).to_be_visible()
    panel.locator(".thumbnail-item").first.click()
    said(panel, "then press Explain")
    panel.get_by_role("checkbox", name="plain").uncheck()
    said(panel, "o network is chosen; choose one at least.")


def test_visitors_do_not_see_each_others_pictures(visit: Callable[..., Visit], tmp_path: Path) -> None:
    names, panels = ("reds of one.png", "blues of another.png"), list[tuple[Visit, Locator]]()
    for name, colour in zip(names, ((200, 30, 30), (30, 30, 200)), strict=True):
        Image.new("RGB", (40, 40), colour).save(tmp_path / name)
        visitor = visit()
        panels.append((visitor, visitor.tab("Explain")))
    (first, here), (second, there) = panels
    first.upload(here, tmp_path / names[0])
    said(here, "then press Explain")
    second.press(there, "Explain")
    said(there, START)
    assert names[0] not in second.page.content()
    second.upload(there, tmp_path / names[1])
    said(there, "then press Explain")
    for visitor, panel in panels:  # both at once
        visitor.press(panel, "Explain")
    for (visitor, panel), own, other in zip(panels, names, names[::-1], strict=True):
        said(panel, "Done.")
        expect(panel.get_by_role("list", name="Maps of")).to_have_attribute("aria-label", f"Maps of {own}")
        assert other not in visitor.page.content()
        stem = own.removesuffix(".png").split()[0]
        links = panel.locator("a[download]").evaluate_all("all => all.map(each => each.download)")
        assert links
        assert all(stem in link for link in links)
