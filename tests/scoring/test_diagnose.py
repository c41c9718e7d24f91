"""`simko diagnose` from the command line to records and page, with real models, stores and files."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diagnosing import diagnose, records, refusal
from peft import LoraConfig, get_peft_model
from scipy.stats import ttest_1samp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simko.cli.main import main
from simko.diagnostics import concentration_summary
from simko.evaluate import SampleStore
from simko.objectives import entropy_gate
from simko.records import Problem, Sample
from simko.scoring import read_responses
from simko.scoring.records import Records
from simko.token_stats import token_stats


def test_two_models_over_an_evaluation(tmp_path, tiny_base, other, run, capsys):
    page = tmp_path / "page.html"
    words = ("--model", f"base={tiny_base}", "--model", f"other={other}", "--samples", run, "--out", page)
    assert diagnose(*words, "--candidates", "6", "--batch-size", "4") == 0
    said = capsys.readouterr().out
    assert "Mean probability of the first candidate at gated tokens" in said
    assert re.search(f"All models read the same responses, (.. of )?30 responses of {run}, to 5 problems.", said)
    html = page.read_text()
    for words in (
        "Where the probability gathers: base, other",
        "Token by token",
        "Colour by",
        "sampled",
        "Raised",
        "entropy",
    ):
        assert words in html
    found = json.loads((tmp_path / "page.records" / "diagnosis.json").read_text())
    responses = read_responses(str(run)).responses
    for model in found["models"]:
        rows = records(tmp_path / "page.records" / model["name"])
        assert set(rows["response"]) == set(range(len(responses)))
        assert model["summary"]["tokens"] == len(rows)
        assert model["summary"]["correct"]["responses"] == sum(r.correct for r in responses)
        assert (rows["candidate_logp"].map(np.exp).map(np.sum) <= 1 + 1e-5).all()
    _, difference = found["differences"]
    assert [d["over"] for d in found["differences"]] == ["gated", "all"]
    by_problem = []
    for name in ("base", "other"):
        rows = records(tmp_path / "page.records" / name)
        first = rows.assign(p=rows["candidate_logp"].map(lambda x: np.exp(x[0])))
        by_problem.append(first.groupby(["problem_id", "sample"])["p"].mean().groupby("problem_id").mean())
    apart = by_problem[1] - by_problem[0]
    low, high = ttest_1samp(apart, 0).confidence_interval(0.95)
    assert difference["numbers"]["probability of rank 1"] == pytest.approx([apart.mean(), low, high], abs=1e-6)
    assert (difference["ours"], difference["other"], difference["problems"]) == ("other", "base", 5)
    assert "other − base" in html


def test_records_are_what_the_model_says(tmp_path, tiny_base, run):
    """Every column against the model's own logits, one response at a time, and the summary against the columns."""
    page = tmp_path / "page.html"
    assert diagnose("--model", f"m={tiny_base}", "--samples", run, "--out", page, "--candidates", "5") == 0
    rows = records(tmp_path / "page.records" / "m")
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_base), AutoModelForCausalLM.from_pretrained(tiny_base)
    responses, stats = read_responses(str(run)).responses, []
    for number, mine in rows.groupby("response"):
        r = responses[number]
        prompt, response = tokenizer(r.problem.prompt)["input_ids"], mine["token"].tolist()
        text = tokenizer(r.sample.response, add_special_tokens=False)["input_ids"]
        ended = r.sample.finish_reason == "stop" and r.sample.tokens != len(text)
        assert response == text + [tokenizer.eos_token_id] * ended
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
        s = token_stats(logits, torch.tensor(response), top_k=5)
        stats.append(s)
        assert mine["logp"].to_numpy() == pytest.approx(s.logp.numpy(), abs=1e-4)
        assert mine["entropy"].to_numpy() == pytest.approx(s.entropy.numpy(), abs=1e-4)
        assert np.stack(mine["candidates"]).tolist() == s.topk_ids.tolist()
        gate = entropy_gate(s.entropy[None], torch.ones(1, len(response)), 0.8)[0]
        assert mine["gated"].tolist() == gate.tolist()
        assert (mine["rank"] == 1).tolist() == s.is_top1.tolist()
        own = [x.correct for x in responses if x.problem.id == r.problem.id]
        better = r.correct - sum(own) / len(own)
        acts = [int(g and better > 0) - int(g and top and better < 0) for g, top in zip(gate, s.is_top1, strict=True)]
        assert mine["acts"].tolist() == acts
    pad = torch.nn.utils.rnn.pad_sequence
    columns = [pad([s[i] for s in stats], batch_first=True) for i in range(3)]
    mask = pad([torch.ones(len(s.logp)) for s in stats], batch_first=True)
    expected = concentration_summary(*columns, mask, correct=torch.tensor([bool(r.correct) for r in responses]))
    (kept,) = json.loads((tmp_path / "page.records" / "diagnosis.json").read_text())["models"]
    for key in ("concentration", "top_mass", "sampled", "entropy", "sampled_rank1", "gated_rank_probability"):
        assert kept["summary"][key] == pytest.approx(expected[key], abs=1e-4)
    for key in ("gated", "correct", "incorrect"):
        assert kept["summary"][key]["concentration"] == pytest.approx(expected[key]["concentration"], abs=1e-4)


def interrupt(folder: Path, words: list, monkeypatch) -> None:
    """As Ctrl-C does after three batches."""
    add, added = Records.add, []

    def add_three(self, rows):
        if len(added) == 3:
            raise KeyboardInterrupt
        add(self, rows)
        added.append(rows)

    with monkeypatch.context() as patch:
        patch.setattr(Records, "add", add_three)
        assert diagnose(*words) == 130


def kill(folder: Path, words: list, monkeypatch) -> None:
    """kill -9 after some batches."""
    command = [sys.executable, "-m", "simko.cli", "diagnose", *map(str, words)]
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(list(folder.glob("tokens/batch-*"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("stop", [interrupt, pytest.param(kill, marks=pytest.mark.slow)])
def test_stopped_and_continued(tmp_path, tiny_base, run, monkeypatch, stop):
    """The same command scores the missing responses alone, to the bit; the page is made again without models."""
    words = ["--model", f"m={tiny_base}", "--samples", run, "--batch-size", "2"]
    quiet, stopped = tmp_path / "quiet.html", tmp_path / "stopped.html"
    assert diagnose(*words, "--out", quiet) == 0
    folder, words = tmp_path / "stopped.records" / "m", [*words, "--out", stopped]
    stop(folder, words, monkeypatch)
    there = {path: path.stat().st_mtime_ns for path in folder.glob("tokens/batch-*.parquet")}
    assert 0 < len(there) < 14
    assert not stopped.exists()
    assert diagnose(*words) == 0
    assert {path: path.stat().st_mtime_ns for path in there} == there
    pd.testing.assert_frame_equal(records(folder), records(tmp_path / "quiet.records" / "m"), check_exact=True)
    drawn = stopped.read_text()
    stopped.unlink()
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    assert diagnose("--records", tmp_path / "stopped.records", "--out", stopped) == 0
    assert stopped.read_text() == drawn
    assert diagnose(*words) == 0  # nothing is missing


def test_each_model_may_read_its_own_responses(tmp_path, tiny_base, other, run, capsys):
    more = tmp_path / "more"
    words = ["--task", "operator_puzzle", "--limit", "3", "-n", "2", "--temperature", "1", "--quiet"]
    assert main(["evaluate", "--model", str(other), "--out", str(more), *words]) == 0
    words = ("--model", f"a={tiny_base}", "--samples", run, "--model", f"b={other}", "--samples", more)
    assert diagnose(*words, "--out", tmp_path / "page.html") == 0
    assert "Each model reads responses of its own" in capsys.readouterr().out
    shown = json.loads((tmp_path / "page.records" / "diagnosis.json").read_text())["shown"]
    assert [list(one["views"]) for one in shown] in ([["a"], ["a"], ["b"]], [["a"], ["a"], ["b"], ["b"]])
    assert [one["correct"] for one in shown][:2] == [True, False]
    assert shown[-1]["source"] == str(more)


def test_a_file_without_and_with_a_verifier(tmp_path, tiny_base, capsys):
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "2 3 4 5 =", "answer": str(n), "response": f"+ {n}", "finish_reason": "stop"} for n in (3, 4, 3)]
    rows = [row | {"answer": "3"} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--model", f"m={tiny_base}", "--samples", file)
    assert diagnose(*words, "--out", tmp_path / "a.html") == 0
    assert "There are no verdicts for m" in capsys.readouterr().out
    assert "give --verifier" in (tmp_path / "a.html").read_text()
    assert diagnose(*words, "--out", tmp_path / "b.html", "--verifier", "last_integer", "--show", "x:0") == 2
    assert "--show x:0: there is no such response" in capsys.readouterr().err
    assert diagnose(*words, "--out", tmp_path / "b.html", "--verifier", "last_integer") == 0
    (model,) = json.loads((tmp_path / "b.records" / "diagnosis.json").read_text())["models"]
    assert [model["summary"][key]["responses"] for key in ("correct", "incorrect")] == [2, 1]
    assert model["judge"] == "last_integer"


def test_an_adapter_is_read_with_its_base(tmp_path, tiny_base, run):
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(tmp_path / "adapter")
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(tmp_path / "merged")
    words = [x for name in ("adapter", "merged") for x in ("--model", f"{name}={tmp_path / name}")]
    assert diagnose(*words, "--model", f"base={tiny_base}", "--samples", run, "--out", tmp_path / "page.html") == 0
    logp = {
        name: records(tmp_path / "page.records" / name)["logp"].to_numpy() for name in ("adapter", "merged", "base")
    }
    assert logp["adapter"] == pytest.approx(logp["merged"], abs=1e-4)
    assert np.abs(logp["adapter"] - logp["base"]).max() > 1e-3


def character_model(folder: Path, *more: str) -> Path:
    """A model whose tokens are characters."""
    vocabulary = ["?", "<end>", *"0123456789+-*/= ", *more]
    inner = Tokenizer(models.WordLevel({c: i for i, c in enumerate(vocabulary)}, unk_token="?"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>").save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("stop", "more", "ends"),
    [
        ([], (), True),
        (["\n"], (), True),  # no token holds a line's end, so the end token ended the response
        (["\n"], ("\n",), False),
        (["12"], (), False),  # may span tokens
    ],
)
def test_the_end_of_a_response_is_read_only_where_it_is_known(tmp_path, stop, more, ends):
    model = character_model(tmp_path / "model", *more)
    with SampleStore(tmp_path / "samples.db") as store:
        setting = store.begin("t", "T=1", {"chat": False, "stop": stop}, "math", [Problem("q", "1+1=", "2")], 3)
        samples = [Sample("q", 0, "2", 2, "stop"), Sample("q", 1, "33", 2, "length"), Sample("q", 2, "4", 5, "stop")]
        store.add(setting, samples)
    assert (
        diagnose("--model", f"m={model}", "--samples", tmp_path, "--out", tmp_path / "page.html", "--candidates", "3")
        == 0
    )
    tokens = records(tmp_path / "page.records" / "m").groupby("response")["token"].apply(list).tolist()
    assert tokens == [[4, 1], [5, 5], [6, 1]] if ends else tokens == [[4], [5, 5], [6]]
    (found,) = json.loads((tmp_path / "page.records" / "diagnosis.json").read_text())["models"]
    assert (found["other_lengths"], found["unknown_ends"]) == (1, 0 if ends else 2)


def test_models_with_other_tokenizers_are_read_each_in_its_own_tokens(tmp_path, tiny_base, run):
    character_model(tmp_path / "chars")
    words = ("--model", f"words={tiny_base}", "--model", f"chars={tmp_path / 'chars'}", "--samples", run)
    assert diagnose(*words, "--out", tmp_path / "page.html", "--candidates", "5") == 0
    found = json.loads((tmp_path / "page.records" / "diagnosis.json").read_text())
    tokens = {m["name"]: (m["summary"]["tokens"], m["other_lengths"]) for m in found["models"]}
    assert tokens["chars"] > tokens["words"]
    for one in found["shown"]:
        said = {name: "".join(t["text"] for t in view) for name, view in one["views"].items()}
        assert set(said) == {"words", "chars"}
        assert list(one["segment"]["models"]) == ["words"]  # another split has no such columns
    assert "Without chars: it splits the response into other tokens." in (tmp_path / "page.html").read_text()


def test_what_is_refused(tmp_path, tiny_base, other, run, capsys):
    page = tmp_path / "page.html"
    base = ("--out", page, "--model", f"m={tiny_base}")
    assert "say which responses the models read" in refusal(capsys, *base)
    assert "there is no file or folder" in refusal(capsys, *base, "--samples", tmp_path / "nowhere")
    assert "once for all, or once for each" in refusal(capsys, *base, *("--samples", run) * 2)
    assert "two models are called 'm'" in refusal(capsys, *base, "--model", f"m={other}", "--samples", run)
    assert "is no name for a folder" in refusal(capsys, "--out", page, "--model", f"../m={tiny_base}", "--samples", run)
    assert "there is no folder" in refusal(capsys, "--out", page, "--model", "m=/no/where", "--samples", run)
    assert "has nothing at 0.3" in refusal(capsys, *base, "--samples", f"{run}@0.3")
    assert "write PROBLEM:INDEX" in refusal(capsys, *base, "--samples", run, "--show", "7")
    assert "--gate-quantile is 1.5" in refusal(capsys, *base, "--samples", run, "--gate-quantile", "1.5")
    assert "holds no records of simko diagnose" in refusal(capsys, "--out", page)
    for words in (
        ("--candidates", "100000"),
        ("--candidates", "999"),
        ("--dtype", "float7"),
        ("--dtype", "nn"),
        ("--dtype", "int8"),
        ("--device", "nowhere"),
        ("--device", "cuda:99"),
        ("--chat",),
    ):
        assert words[0] in refusal(capsys, *base, "--samples", run, *words)
    assert diagnose(*base, "--samples", run) == 0
    line = refusal(capsys, *base, "--samples", run, "--candidates", "7")
    assert "candidates is 20 there and 7 here" in line
    line = refusal(capsys, "--out", page, "--model", f"m={other}", "--samples", run)
    assert "weights is" in line
    damaged = sorted((tmp_path / "page.records" / "m" / "tokens").glob("batch-*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert f"{damaged} is damaged" in refusal(capsys, "--out", page)
    damaged.unlink()
    assert "lacks" in refusal(capsys, "--out", page)
    assert diagnose(*base, "--samples", run) == 0  # as the message says


def test_quiet_is_quiet(tmp_path, tiny_base, run, capfd):
    assert diagnose("--model", f"m={tiny_base}", "--samples", run, "--out", tmp_path / "page.html") == 0
    words = ["--task", "operator_puzzle", "--limit", "1", "-n", "1", "--quiet"]
    assert main(["evaluate", "--model", str(tiny_base), "--out", str(tmp_path / "out"), *words]) == 0
    assert capfd.readouterr().err == ""
    assert (
        main(["diagnose", "--model", f"m={tiny_base}", "--samples", str(run), "--out", str(tmp_path / "b.html")]) == 0
    )
    assert "Loading weights" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words", [["--temperature", "0.5"], ["--per-problem", "1"], ["--samples", "x"], ["--chat"], ["--verifier", "math"]]
)
def test_what_says_how_models_read_needs_a_model(tmp_path, capsys, words):
    assert main(["diagnose", "--records", str(tmp_path), "--out", str(tmp_path / "page.html"), *words]) == 2
    assert f"{words[0]} says how responses are read, and no --model reads any" in capsys.readouterr().err


def test_settings_are_never_mixed(tmp_path, tiny_base, capsys):
    out = tmp_path / "run"
    words = ["--task", "operator_puzzle", "--limit", "2", "-n", "2", "--temperature", "0.5,1", "--quiet"]
    assert main(["evaluate", "--model", str(tiny_base), "--out", str(out), *words]) == 0
    base = ("--out", tmp_path / "page.html", "--model", f"m={tiny_base}")
    line = refusal(capsys, *base, "--samples", out)
    assert "several settings (operator_puzzle at T=0.5, operator_puzzle at T=1): choose one; write RUN@0.6" in line
    assert diagnose(*base, "--samples", f"{out}@0.5") == 0
    (model,) = json.loads((tmp_path / "page.records" / "diagnosis.json").read_text())["models"]
    assert model["settings"] == ["operator_puzzle at T=0.5"]
