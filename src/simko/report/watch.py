"""Serves the page of a run on this machine while the run goes on."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from simko.report.document import Document, Prose, as_html
from simko.report.page import make_document
from simko.report.runs import parse_group
from simko.report.sources import read_content

_READ = (
    *("study.json", "metrics.jsonl", "diagnostics.jsonl", "config.json", "diagnosis.json"),
    *("samples.db", "samples.db-wal"),
)


class LivePage:
    """The page of runs, made again when their files have changed."""

    def __init__(self, sources: Sequence[str], every: int) -> None:
        """sources: as in `read_content`. every: seconds after which the page refreshes itself. ValueError as there."""
        self._sources, self._every = sources, every
        self._paths = [run.path for source in sources for run in parse_group(source).runs]
        self._lock = threading.Lock()
        self._stamp = self._files()
        self._document = make_document(read_content(sources))
        self._html = self._render(self._document)

    def html(self) -> str:
        """The page. While a file is broken it is the last one, with a line that says so."""
        with self._lock:
            stamp = self._files()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._document = make_document(read_content(self._sources))
                    self._html = self._render(self._document)
                except Exception as error:  # whatever a live run's files hold, the page stays up
                    said = Prose(f"This page is old, as the run cannot be read: {error}", "missing")
                    self._html = self._render(replace(self._document, blocks=[said, *self._document.blocks]))
            return self._html

    def _render(self, document: Document) -> str:
        return as_html(replace(document, refresh=self._every))

    def _files(self) -> list[tuple[str, int, int]]:
        """Name, time and size of every file that is read."""
        found = (path for place in self._paths for path in _files_in(place) if path.is_file())
        return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in found)


def _files_in(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield from (place, place.with_name(f"{place.name}-wal"))
    for folder in (place, place / "held-out", *place.glob("runs/*"), *place.glob("evaluations/*")):
        yield from (folder / name for name in _READ)


def open_server(html: Callable[[], str], port: int) -> ThreadingHTTPServer:
    """A server of one page on 127.0.0.1. port: 0 for a free one. OSError if the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host, _, _ = self.headers.get("Host", "").partition(":")
            if host not in ("127.0.0.1", "localhost"):  # a name of elsewhere that was made to lead here
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                content = html().encode()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)
