"""Exported logs in the real inspect_ai: its readers, and its viewer in a browser (make test-viewers)."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from hostile import IDS, RESPONSES, WORDS, hostile_evaluation

from simko.evaluate import SampleStore
from simko.evaluate.inspect_export import export_inspect

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "report"))
from browser import chromium_page  # noqa: E402

INSPECT = ROOT / ".venv-inspect" / "bin" / "inspect"
pytestmark = pytest.mark.skipif(not INSPECT.exists(), reason="inspect_ai is not installed: make test-viewers")

READ = """
import json, sys
from inspect_ai.log import (
    list_eval_logs, recompute_metrics, read_eval_log, read_eval_log_sample, read_eval_log_sample_summaries, read_eval_log_samples
)
found = {}
for info in list_eval_logs(sys.argv[1]):
    log = read_eval_log(info)
    listed = {(s.id, s.epoch) for s in read_eval_log_sample_summaries(info)}
    streamed = {(s.id, s.epoch): s.model_dump() for s in read_eval_log_samples(info, all_samples_required=False)}
    assert listed == streamed.keys() == {(s.id, s.epoch) for s in log.samples}
    assert len(listed) == len(log.samples) == log.results.total_samples
    assert all(read_eval_log_sample(info, id, epoch).model_dump() == s for (id, epoch), s in streamed.items())
    scores = {s.reducer: {name: m.value for name, m in s.metrics.items()} for s in log.results.scores}
    recompute_metrics(log)
    recomputed = {s.reducer: {name: m.value for name, m in s.metrics.items()} for s in log.results.scores}
    assert list(scores) == list(recomputed) == ["mean", "pass_at_2", "pass_at_4"]
    for reducer, metrics in recomputed.items():
        assert all(abs(value - scores[reducer][name]) < 1e-12 for name, value in metrics.items()), (scores, recomputed)
    found[f"{info.task} {log.eval.task_args['setting']}"] = json.loads(log.model_dump_json(exclude_none=True))
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    run = hostile_evaluation(tmp_path_factory.mktemp("run"))
    with SampleStore(run / "samples.db", read_only=True) as store:
        export_inspect(store, run / "inspect")
    return run / "inspect"


def test_inspect_ai_reads_all_of_it(logs):
    words = [INSPECT.with_name("python"), "-c", READ, logs]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, timeout=120).stdout)
    assert found.keys() == {"sums/of ../two T=1", "sums step=40, T=0.6"}
    log = found["sums step=40, T=0.6"]
    assert (log["status"], log["eval"]["model"], log["plan"]["config"]["temperature"]) == ("success", "m/tiny", 0.6)
    assert log["eval"]["dataset"]["samples"] == len(IDS)
    samples = {(s["metadata"]["problem_id"], s["epoch"]): s for s in log["samples"]}
    assert samples.keys() >= {(id, epoch) for id in IDS for epoch in (1, 2, 3, 4)}
    for id in IDS:
        texts = [samples[id, epoch]["output"]["completion"] for epoch in (1, 2, 3, 4)]
        assert texts == [text.replace("\ud800", "?") for text in RESPONSES]
        assert [samples[id, epoch]["scores"]["math"]["value"] for epoch in (1, 2, 3, 4)] == ["C", "I", "C", "I"]
    ends = [samples["a", epoch]["output"]["choices"][0]["stop_reason"] for epoch in (1, 2, 3)]
    assert ends == ["stop", "max_tokens", "unknown"]
    assert samples["a", 6]["error"]["message"] == WORDS
    assert samples["a", 5]["output"]["choices"][0]["message"]["content"][0]["reasoning"] == "One and one.\x00"
    mean = next(score for score in log["results"]["scores"] if score["reducer"] == "mean")
    assert mean["metrics"]["accuracy"]["value"] == pytest.approx((0.5 * (len(IDS) - 1) + 3 / 6) / len(IDS))


@pytest.fixture
def viewer(logs, tmp_path):
    """The address of inspect's own viewer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [INSPECT, "view", "--log-dir", logs, "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "viewer.txt").open("w") as said, subprocess.Popen(words, stdout=said, stderr=said) as process:
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{port}/")
                    break
                except URLError:
                    assert time.monotonic() < end, (tmp_path / "viewer.txt").read_text()
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def test_the_viewer_shows_the_samples(viewer, chromium, tmp_path):
    names = [Path(log["name"]).name for log in json.load(urlopen(f"{viewer}api/logs"))["files"]]
    (log,) = [name for name in names if "T=0.6" in name]
    place = f"{viewer}#/tasks/{quote(log)}"
    with chromium_page(chromium, tmp_path / "profile") as page:

        def shown(url: str, *texts: str) -> None:
            page.call("Page.navigate", url=url)
            end = time.monotonic() + 30
            while not all(text in (seen := page.evaluate("document.body?.innerText ?? ''")) for text in texts):
                assert time.monotonic() < end, seen
                time.sleep(0.1)

        page.call("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
        shown(viewer, "sums/of ../two", "m/tiny", "step=40, T=0.6", "679")
        shown(place, "sums", "m/tiny", "math (mean)", "math (pass_at_4)", "temperature: 0.6", "problem 0: a")
        shown(f"{place}/samples/sample/a/1/messages", r"so \boxed{2}", "ANSWER")
        shown(f"{place}/samples/sample/a/1/scoring", "math: correct")
        shown(f"{place}/samples/sample/a/5/messages", "REASONING", "One and one.")
        shown(f"{place}/samples/sample/a/6/error", WORDS)
        shown(f"{place}/samples/sample/etc-x-y-1/3/messages", "<img src=x onerror=alert(1)>")
        shown(f"{place}/samples/sample/etc-x-y-1/3/metadata", "problem_id", "../../etc/x")
        assert {url for url in page.asked if not url.startswith((viewer, "data:", "blob:"))} == set()
        assert not any("xception" in text for text in page.said)
