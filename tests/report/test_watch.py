"""`simko watch` on a run that goes on."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import chromium_page
from test_diagnosis import PLAIN, write_records
from test_runs import write_run

from simko.cli.main import main
from simko.scoring import summarise_records


def get(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A run that has logged two of its four steps."""
    run = tmp_path / "run"
    shutil.copytree(trained / "plain", run)
    rows = (trained / "simko" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "config.json").write_text((trained / "simko" / "config.json").read_text())
    (run / "metrics.jsonl").write_text("".join(rows[:4]))
    return run


@pytest.fixture
def port(run) -> Iterator[int]:
    command = [sys.executable, "-m", "simko.cli", "watch", str(run), "--every", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        yield int(served.stdout.readline().rpartition(":")[2].strip("/\n"))
        served.kill()


def test_the_page_follows_the_run_and_is_for_this_machine_alone(run, port):
    status, page = get(port)
    assert status == 200
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page
    assert "has logged up to step 2 of 4" in page
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 0.1, "reward": 0.5}\n')
    assert "has logged up to step 3 of 4" in get(port)[1]
    whole = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("{\n" + whole)
    assert "1 line of metrics.jsonl, the first of them line 1, is left out" in get(port)[1]
    config = (run / "config.json").read_text()
    (run / "config.json").write_text("{")
    broken = get(port)[1]
    assert "This page is old, as the run cannot be read" in broken
    assert "has logged up to step 3 of 4" in broken
    (run / "config.json").write_text(config)
    assert "This page is old" not in get(port)[1]
    assert get(port, "/../config.json")[0] == 404
    assert get(port, host="elsewhere.example")[0] == 403


def test_what_cannot_be_watched_is_one_line(run, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["watch", str(run), "--port", port]) == 2
        assert f"port {port} cannot be opened" in capsys.readouterr().err
    for words, said in (
        (["watch", str(tmp_path / "none")], "there is no file or folder"),
        (["watch", str(run), "--every", "0"], "--every is 0"),
        (["watch", str(run), "--port", "99999"], "--port is 99999"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


LOADED = "performance.timeOrigin"
LEFT = """(() => {
  const open = [...document.querySelectorAll("details")].map((x, i) => x.open ? i : null).filter(i => i !== null);
  const values = [...document.querySelectorAll(".filters :is(select, input)")].map(x => x.value);
  const chosen = [...document.querySelectorAll("input[type=radio]:checked")].map(x => x.id || x.className);
  const sorted = [...document.querySelectorAll("th")].map(x => x.ariaSort).filter(Boolean);
  const inner = [...document.querySelectorAll(".list, .scroll, .text, pre")].map(x => [x.scrollTop, x.scrollLeft]);
  const rows = [...document.querySelectorAll(".problems tbody tr")].filter(x => !x.hidden).map(x => x.cells[0].innerText);
  return {open, values, chosen, sorted, inner, rows, shown: document.querySelectorAll("article:not([hidden])").length,
          y: Math.round(scrollY), focus: document.activeElement.outerHTML.slice(0, 80)};
})()"""
DO = """
  document.querySelectorAll("figure details")[1].open = true;
  document.querySelectorAll(".asked")[2].open = true;
  const [side, verdict] = document.querySelectorAll(".samples select");
  verdict.value = "correct";
  verdict.dispatchEvent(new Event("input"));
  const search = document.querySelector(".problems input");
  search.value = "q0";
  search.dispatchEvent(new Event("input"));
  const head = document.querySelector(".problems th:nth-child(2) button");
  head.click();
  head.click();
  document.querySelector(".by-rank").checked = true;
  document.querySelectorAll(".text input")[3].checked = true;
  document.querySelector(".list").scrollTop = 40;
  document.querySelector("pre").scrollTop = 10;
  scrollTo(0, 1234);
  search.focus({preventScroll: true});
"""


@contextmanager
def served(*runs: str) -> Iterator[str]:
    """The address of a page that loads itself again every two seconds."""
    command = [sys.executable, "-m", "simko.cli", "watch", *runs, "--every", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def watched(tmp_path) -> Iterator[str]:
    """The address of a page of an evaluation and a diagnosis that loads itself again every two seconds."""
    records = write_records(tmp_path / "records", ["base"], PLAIN)
    summarise_records(records)
    runs = [str(write_run(tmp_path / f"m{i}", 0.3 * (i + 1), n=16)) for i in range(2)]
    with served(*runs, str(records)) as address:
        yield address


def wait_for_refresh(page, before: float) -> None:
    end = time.monotonic() + 60
    while not (page.evaluate(LOADED) > before and page.evaluate("document.readyState") == "complete"):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("hash", ["", "#s0-p1"])
def test_a_refresh_keeps_what_the_reader_left(watched, chromium, tmp_path, hash):
    """Open parts, filters, order, tokens, focus, and every scroll position; with a problem that was jumped to as without."""
    with chromium_page(chromium, tmp_path / "profile") as page:
        page.open(watched + hash, width=1000)
        first = page.evaluate(LEFT)
        page.evaluate(f"(() => {{ {DO} }})()")
        left, before = page.evaluate(LEFT), page.evaluate(LOADED)
        assert all(
            left[key] != first[key] for key in ("open", "values", "chosen", "sorted", "inner", "rows", "y", "shown")
        )
        wait_for_refresh(page, before)
        assert page.evaluate(f"new Promise(done => setTimeout(() => done({LEFT}), 150))") == left
        assert page.said == []
        assert {url.partition("#")[0] for url in page.asked} == {watched}


def test_what_is_read_stays_in_place_while_the_page_grows(run, chromium, tmp_path):
    """A new note stands above, and new charts before the one whose numbers are open."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text(
        "".join(json.dumps({k: v for k, v in r.items() if k != "reward"}) + "\n" for r in rows)
    )
    top = "Math.round([...document.querySelectorAll('h2')].find(x => x.textContent === 'Concentration').getBoundingClientRect().top)"
    opened = "[...document.querySelectorAll('figure:has(details[open]) figcaption')].map(x => x.textContent)"
    with served(str(run)) as address, chromium_page(chromium, tmp_path / "p") as page:
        page.open(address, width=700, height=300)
        page.evaluate(
            "[...document.querySelectorAll('figure')].find(x => /entropy of/.test(x.innerText)).querySelector('details').open = true"
        )
        page.evaluate(f"scrollBy(0, {top} + 20)")
        before, figures = page.evaluate(LOADED), page.evaluate("document.querySelectorAll('figure').length")
        was = page.evaluate(opened), page.evaluate(top)
        (run / "metrics.jsonl").write_text("{\n" + "".join(json.dumps(r) + "\n" for r in rows))
        end = time.monotonic() + 60
        while page.evaluate("document.querySelectorAll('figure').length") == figures:
            wait_for_refresh(page, before)
            before = page.evaluate(LOADED)
            assert time.monotonic() < end
        page.evaluate("new Promise(done => setTimeout(done, 150))")
        assert "1 line of metrics.jsonl" in page.evaluate("document.body.innerText")
        assert (page.evaluate(opened), page.evaluate(top)) == was
        assert was == (["Mean entropy of the next-token distribution."], -20)
