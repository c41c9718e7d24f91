"""A limit on the time of code that knows of none."""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN = 1.0  # seconds until code that went on is interrupted again
_left: set[threading.Thread] = set()


class TimeIsUp(BaseException):
    """No Exception, which the limited code might catch."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in the main thread after so many seconds of wall-clock, whether it computes in Python, sleeps or waits.

    The signal is SIGVTALRM, since the limited code may use SIGALRM for limits of its own. A call into C that neither
    returns nor waits is not interrupted. In another thread there is no limit. Threads that the code has started and that do
    not end do not keep the process: it ends with exit code 1.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main, done, before = threading.get_ident(), threading.Event(), set(threading.enumerate())

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
    except TimeIsUp:
        _leave_behind(set(threading.enumerate()) - before - {watcher})
        raise
    finally:
        while not done.is_set():
            try:
                done.set()
            except TimeIsUp:  # it came as the code ended
                continue
        watcher.join()
        signal.signal(signal.SIGVTALRM, kept)


def _leave_behind(threads: set[threading.Thread]) -> None:
    """See that the process ends without those of these threads for which Python would wait at its end."""
    threads = {t for t in threads if not t.daemon}
    if threads and not _left:
        threading._register_atexit(_end_without_them)  # type: ignore[attr-defined]  # before those of thread pools, which wait
    _left.update(threads)


def _end_without_them() -> None:
    main = threading.main_thread()
    while others := [t for t in threading.enumerate() if t is not main and not t.daemon]:
        if _left.issuperset(others):
            print(f"simko: {len(others)} threads of a function that took too long are left behind", file=sys.stderr)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)
        time.sleep(0.1)
