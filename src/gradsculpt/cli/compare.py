"""`gradsculpt compare`."""

from collections.abc import Sequence

from gradsculpt.cli.process import prepare, result_console
from gradsculpt.cli.scoring import compare, comparison_options, scores_folder
from gradsculpt.progress import Reporter


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Put any number of runs on one page."""
    options = comparison_options(words)
    from gradsculpt.report import table

    prepare()
    result_console().print(table(compare(options, reporter)))
    page = options["out"]
    reporter.say(
        f"The page is {page}, its maps alone {page.with_suffix('.png')}, and its scores are in {scores_folder(page)}"
    )
