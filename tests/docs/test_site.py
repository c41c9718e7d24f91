"""The site that `make docs` builds: whole, without a warning, without a request to elsewhere, and no wider than its window."""

import ast
import html
import json
import re
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from doc_blocks import ROOT

from simko.cli.main import COMMANDS

LOADED = r"""<(?:script|link|img|iframe|source|video)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//|@import|url\(["']?(?:https?:)?//"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))  # raises Abort for a warning
    return folder


def public_names() -> dict[str, list[str]]:
    """{room: its __all__}."""
    rooms = {}
    for path in (ROOT / "src" / "simko").rglob("__init__.py"):
        if listed := re.search(r"^__all__ = (\[.*?\])", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            rooms[".".join(path.parent.relative_to(ROOT / "src").parts)] = ast.literal_eval(listed[1])
    return rooms


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.few(4)
def test_every_command_has_a_page_that_says_what_its_help_says(site, name):
    page = (site / "cli" / f"{name}.html").read_text(encoding="utf-8")
    assert f"usage: simko {name}" in html.unescape(re.sub("<[^>]*>", "", page))


@pytest.mark.parametrize(("room", "names"), public_names().items(), ids=public_names())
def test_every_public_name_is_on_its_room_s_page(site, room, names):
    """With its docstring: a name without one is left out."""
    page = (site / "api" / f"{room}.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'id="([\w.]+)"', page))
    assert [name for name in names if not {f"{room}.{name}", f"{room}.{name}.{name}"} & shown] == []


def test_the_first_page_is_the_readme_and_files_of_the_repository_are_pages(site):
    first = (site / "index.html").read_text(encoding="utf-8")
    assert 'src="images/quickstart.svg"' in first
    assert 'href="results/quickstart.html"' in first
    assert 'href="source/src/simko/objectives/effective.py.html"' in first
    assert "def spread_shift" in re.sub(
        "<[^>]*>", "", (site / "source/src/simko/objectives/effective.py.html").read_text()
    )


def test_nothing_is_loaded_from_elsewhere(site):
    pages = [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]
    assert len(pages) > 60
    assert {file.name: found for file in pages if (found := re.findall(LOADED, file.read_text(encoding="utf-8")))} == {}


@pytest.fixture
def address(site):
    """Of the site, served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


FRAMES = """<meta charset=utf-8><style>iframe {{ border: 0; height: 900px; }}</style><p id=out></p>
<script>
function look(name, w) {{
  const d = w.document, asked = w.performance.getEntriesByType("resource").map(x => x.name);
  const over = d.documentElement.scrollWidth - d.documentElement.clientWidth;
  out.textContent += JSON.stringify({{name, over, asked, text: d.body.innerText.length}}) + "\\n";
}}
</script>
{frames}"""


PAGES = ["index", "start", "training", "evaluation", "methods", "papers", "questions", "reproduce", "results/toy"]
PAGES += [
    "results/head_to_head",
    "results/head_to_head_tables",
    "results/head_to_head_smollm2_tables",
    "results/graders",
    "cli/evaluate",
    "api/simko.objectives",
]


def test_no_page_is_wider_than_its_window_or_asks_for_more_than_the_site(site, address, chromium, tmp_path):
    frames = "".join(
        f'<iframe src="{page}.html" style="width:{width}px" onload="look(\'{page} {width}\', this.contentWindow)"></iframe>'
        for page in PAGES
        for width in (1440, 390)
    )
    (site / "frames.html").write_text(FRAMES.format(frames=frames), encoding="utf-8")
    words = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
    ]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{address}/frames.html"]
    done = subprocess.run([chromium, *words], capture_output=True, text=True, timeout=120)
    said = html.unescape(re.search(r"<p id=.out.>(.*?)</p>", done.stdout, re.DOTALL)[1])
    found = {row["name"]: row for row in map(json.loads, said.splitlines())}
    assert len(found) == 2 * len(PAGES)
    assert [row for row in found.values() if row["over"] > 0 or row["text"] < 100] == []
    asked = {url for row in found.values() for url in row["asked"]}
    assert len(asked) > 5
    assert {url for url in asked if not url.startswith((address, "data:"))} == set()
