"""A limit on the time of code that knows of none."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN = 1.0  # seconds until code that went on is interrupted again


class TimeIsUp(BaseException):
    """No Exception, which the limited code might catch."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in the main thread after so many seconds of wall-clock, whether it computes in Python, sleeps or waits.

    The signal is SIGVTALRM, since the limited code may use SIGALRM for limits of its own. A call into C that neither
    returns nor waits is not interrupted. In another thread there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main, done = threading.get_ident(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            signal.pthread_kill(main, signal.SIGVTALRM)
            wait = _AGAIN

    def stop(*_: Any) -> None:
        if not done.is_set():
            raise TimeIsUp

    kept = signal.signal(signal.SIGVTALRM, stop)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        while not done.is_set():
            try:
                done.set()
            except TimeIsUp:  # it came as the code ended
                continue
        watcher.join()
        signal.signal(signal.SIGVTALRM, kept)
