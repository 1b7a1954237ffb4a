"""Two runs are compared: their scores, each with its direction, its interval and what it means, and plots."""

from playwright.sync_api import expect

from tests.browser.visiting import Visit, said


def test_two_runs_are_compared(visitor: Visit) -> None:
    panel = visitor.tab("Compare")
    there = panel.get_by_role("table", name="Scores that there are")
    expect(there.get_by_role("row")).to_have_count(3)
    visitor.press(panel, "Compare")
    said(panel, "Done.")
    scores = panel.get_by_role("region", name="Scores", exact=True)
    heads = scores.get_by_role("columnheader").all_inner_texts()
    assert heads[1:3] == ["plain", "sculpted"]
    told = scores.inner_text()
    for words in ("accuracy", "higher is better", "lower is better", "95% intervals", "randomized", "["):
        assert words in told
    plots = panel.get_by_role("list", name="Plots").get_by_role("img")
    assert plots.count() >= 2
    for plot in plots.all():
        assert plot.evaluate("image => image.complete && image.naturalWidth > 0")


def test_one_run_is_set_against_none(visitor: Visit) -> None:
    panel = visitor.tab("Compare")
    for name in ("plain", "sculpted"):
        panel.get_by_role("checkbox", name=name).uncheck()
    visitor.press(panel, "Compare")
    said(panel, "o network is chosen; choose one at least.")
    panel.get_by_role("checkbox", name="plain").check()
    visitor.press(panel, "Compare")
    said(panel, "Done.")
    expect(panel.get_by_role("region", name="Scores", exact=True)).to_contain_text("plain")
