"""The progress bars of models that are loaded."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading_bars(shown: bool) -> Iterator[None]:
    """Transformers draws its bars within the context only if they are `shown`. Afterwards it does as before."""
    if shown:
        yield
        return
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()
