"""Two small networks are trained while the map of a picture is watched; then they are networks like any others."""

import zipfile

from playwright.sync_api import expect

from tests.browser.visiting import Visit, said


def test_a_training_is_watched_and_its_networks_are_on_offer(visitor: Visit) -> None:
    panel = visitor.tab("Train, small")
    visitor.set(panel, "Epochs of each training", 1)
    visitor.set(panel, "Training images, of the cells", 200)
    visitor.press(panel, "Train")
    told = said(panel, "Done.")
    strips = panel.get_by_role("img", name="after 1 epoch")
    assert strips.count() >= 2
    with visitor.page.expect_download() as started:
        panel.locator("a[download$='.zip']").click()
    with zipfile.ZipFile(started.value.path()) as file:
        runs = {name.partition("/")[0] for name in file.namelist()}
        assert len(runs) == 2
        for run in runs:
            assert {f"{run}/model.safetensors", f"{run}/config.yaml"} <= set(file.namelist())
    panel = visitor.tab("Explain")
    for run in runs:
        assert run in told
        panel.get_by_role("checkbox", name=run).check()
    panel.get_by_role("checkbox", name="plain").uncheck()
    panel.locator(".thumbnail-item").nth(3).click()
    said(panel, "then press Explain")
    visitor.press(panel, "Explain")
    said(panel, "Done.")
    expect(panel.get_by_role("list", name="Maps of").get_by_role("listitem")).to_have_count(2)


def test_a_training_can_be_cancelled(visitor: Visit) -> None:
    panel = visitor.tab("Train, small")
    visitor.set(panel, "Epochs of each training", 12)
    visitor.set(panel, "Training images, of the cells", 4000)
    visitor.press(panel, "Train")
    expect(panel.get_by_role("progressbar")).to_be_visible()
    visitor.press(panel, "Cancel the training")
    said(panel, "Cancelled.")
