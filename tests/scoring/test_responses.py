"""Which stored responses are read, and how their prompts are."""

from dataclasses import replace

import numpy as np
from diagnosing import diagnose, records, refusal
from transformers import AutoModelForCausalLM, AutoTokenizer

from simko.evaluate import SampleStore
from simko.scoring import read_responses


def test_what_cannot_be_read_is_left_out_and_counted(tmp_path, tiny_base, run):
    with SampleStore(run / "samples.db", read_only=True) as store:
        (setting,) = store.settings()
        problems, rows = store.problems(setting), list(store.rows(setting))
    samples = [replace(sample, response=sample.response or "x") for sample, _ in rows]
    samples[0] = replace(samples[0], thinking="hm")
    samples[1] = replace(samples[1], failure="the server said no", response="", finish_reason="failed")
    samples[2] = replace(samples[2], response="")
    with SampleStore(tmp_path / "samples.db") as store:
        setting = store.begin("t", "T=1", {"chat": False}, "math", problems, 6)
        store.add(setting, samples, [verdict for _, verdict in rows])
    found = read_responses(str(tmp_path))
    assert found.left_out == {
        "the thinking before the response is kept apart": 1, "no response came": 1, "the response is empty": 1
    }  # fmt: skip
    assert len(found.responses) == 27
    first = read_responses(str(tmp_path), per_problem=1)
    assert len(first.responses) == 4
    assert first.left_out["beyond the first 1 of the problem"] == 25


def test_a_chat_template_in_doubt_is_asked_for(tmp_path, tiny_base, capsys):
    folder = tmp_path / "chatty"
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.chat_template = "{% for m in messages %}= {{ m['content'] }} = {% endfor %}"
    AutoModelForCausalLM.from_pretrained(tiny_base).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "2 3 4 5 =", "answer": "3", "response": "+ 3"}\n')
    words = ("--model", f"m={folder}", "--samples", file, "--out", tmp_path / "page.html")
    assert "give --chat or --no-chat" in refusal(capsys, *words)
    logp = []
    for i, chat in enumerate(("--chat", "--no-chat")):
        assert diagnose(*words, chat, "--records", tmp_path / str(i)) == 0
        logp.append(records(tmp_path / str(i) / "m")["logp"].to_numpy())
    assert np.abs(logp[0] - logp[1]).max() > 1e-6
