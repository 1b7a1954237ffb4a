"""The Hub's library without what it says by itself, and with an end to its patience."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from gradsculpt.errors import ModelError

PATIENCE = 10.0
"""Seconds that an answer may take."""

_ANSWER = 60.0  # seconds of silence while files are sent, of which the largest are put together there


@contextmanager
def quietly() -> Iterator[None]:
    """Keep its bars, warnings and notes from the screen within the block, and let no request wait for ever.

    Raises: ModelError if the library cannot be imported.
    """
    try:
        from huggingface_hub import get_session
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    except ImportError as error:
        raise ModelError(
            f"the package huggingface_hub cannot be used ({error}); install it again: pip install -U 'gradsculpt[hub]'"
        ) from error
    logger, shown, session = logging.getLogger("huggingface_hub"), not are_progress_bars_disabled(), get_session()
    level, before = logger.level, session.timeout
    logger.setLevel(logging.CRITICAL)
    session.timeout = _ANSWER
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            disable_progress_bars()
            yield
    finally:
        logger.setLevel(level)
        session.timeout = before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if shown:
                enable_progress_bars()
