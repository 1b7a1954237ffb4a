"""`gradsculpt compare`."""

from collections.abc import Sequence

from gradsculpt.cli.comparison import compare, comparison_options
from gradsculpt.cli.pages import scores_folder
from gradsculpt.cli.process import prepare, result_console
from gradsculpt.progress import Reporter


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Put any number of networks on one page."""
    options = comparison_options(words)
    from gradsculpt.report import table

    prepare()
    result_console().print(table(compare(options, reporter)))
    page = options["out"]
    reporter.say(
        f"The page is {page}, its maps alone {page.with_suffix('.png')}, and its scores are in {scores_folder(page)}"
    )
