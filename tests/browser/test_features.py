"""What raises the output of a class the most is made on request."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit, said


def test_classes_are_drawn_for_each_network(visitor: Visit) -> None:
    panel = visitor.tab("Class features")
    expect(panel.locator(".token")).to_have_count(3)  # classes that are chosen to begin with
    panel.get_by_role("checkbox", name="sculpted").check()
    visitor.set(panel, "Steps", 3)
    visitor.press(panel, "Make pictures")
    said(panel, "Done.")
    for network in ("plain", "sculpted"):
        pictures = panel.get_by_role("list", name=f"Class features of {network}").get_by_role("img")
        expect(pictures).to_have_count(3)
        sources = {picture.get_attribute("src") for picture in pictures.all()}
        assert len(sources) == 3
