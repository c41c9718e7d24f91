"""The Python of README.md and the docs, run as it stands: but for the model, which is a tiny one in a folder, and the number of
updates and samples. The walk in start.md from end to end, and that in extend.md, held to what is called."""

import inspect
import re
import shutil
import sys
import textwrap
from pathlib import Path
from unittest.mock import create_autospec

import doc_blocks
import pytest
from doc_blocks import PAGES, ROOT

sys.path.insert(0, str(ROOT / "tests" / "adapters"))
MODEL, STEPS = "Qwen/Qwen2.5-0.5B", "max_steps=100"
RUN = {
    "README.md": 3,
    "docs/diagnose.md": 3,
    "docs/evaluation.md": 4,
    "docs/extend.md": 5,
    "docs/results/quickstart.md": 1,
    "docs/start.md": 2,
    "docs/token_stats.md": 1,
    "docs/training.md": 1,
    "docs/verl.md": 1,  # in tests/adapters/verl/test_verl_pages.py
}


def blocks(page: str = "README.md") -> list[str]:
    return [block.text for block in doc_blocks.blocks(page, "python")]


def test_no_page_has_python_that_no_test_runs():
    """A new block needs a test, and its number here."""
    assert {page: len(found) for page in PAGES if (found := blocks(page))} == RUN


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from tiny import tiny_model, tiny_tokenizer

    base = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    return base


def run(code: str, folder: Path, names: dict) -> dict:
    assert MODEL in code
    shorter = code.replace(MODEL, str(folder)).replace(STEPS, "max_steps=2, logging_steps=1")
    exec(compile(shorter, "an example", "exec"), names)
    return names


def test_in_trl_and_every_rival_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for code, output in zip(blocks()[:2], ("runs/sums", "runs/pkpo"), strict=True):
        assert STEPS in code
        trainer = run(code, folder, names)["trainer"]
        assert trainer.state.global_step == 2
        assert (tmp_path / output / "checkpoint-2").is_dir()


def test_in_a_loop_of_ones_own(folder):
    """Every name is defined in the block itself; what it calls a position's token is the one that its logits score."""
    import torch

    torch.manual_seed(3)
    names = run(blocks()[2].replace('"42"', '"4"'), folder, {})  # a reward that an untrained model earns
    assert len(blocks()) == 3
    model, ids, tokens, mask, old = (names[name] for name in ("model", "ids", "tokens", "mask", "old_logp"))
    assert 0 < names["rewards"].sum() < 8
    assert names["metrics"]["ratio"] != 1  # the second update is off the policy that sampled
    fresh = type(model).from_pretrained(folder)
    with torch.no_grad():
        logp = fresh(ids).logits.log_softmax(-1)
    start = ids.shape[1] - tokens.shape[1]
    for row, t in mask.nonzero().tolist():
        assert old[row, t] == pytest.approx(logp[row, start + t - 1, ids[row, start + t]].item(), abs=1e-4)
    ends = (tokens == names["tokenizer"].eos_token_id).int()
    for row in range(8):
        length = int(ends[row].argmax()) + 1 if ends[row].any() else tokens.shape[1]
        assert mask[row].tolist() == [t < length for t in range(tokens.shape[1])]


EXTEND = "docs/extend.md"


@pytest.fixture
def tables():
    """The tables to which the examples of extend.md add rows; they lose these again."""
    from simko.objectives import METHODS, OPTIONS
    from simko.tasks import TASKS
    from simko.verifiers import VERIFIERS

    before = [(table, dict(table)) for table in (METHODS, OPTIONS, TASKS, VERIFIERS)]
    yield
    for table, rows in before:
        table.clear()
        table.update(rows)


@pytest.mark.usefixtures("tables")
def test_a_new_method_and_one_with_a_controller(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    trainer = run(blocks(EXTEND)[0], folder, names)["trainer"]
    assert trainer.plan.way() == "TRL's loss with its token links"
    assert trainer.method.options["sure_above"] == 0.8
    shares = [row["spare_sure/sure"] for row in trainer.state.log_history if "loss" in row]
    assert len(shares) == 2
    trainer = run(blocks(EXTEND)[1], folder, names)["trainer"]
    shares = [row["hold_sure/sure"] for row in trainer.state.log_history if "loss" in row]
    assert trainer.method.options["sure_above"] == pytest.approx(0.9 + 0.1 * (sum(shares) - 2 * 0.3))


def test_its_link_does_what_it_says():
    import torch

    from simko.objectives.tokens import read_tokens

    names: dict = {}
    exec(blocks(EXTEND)[0].partition("OPTIONS[")[0], names)
    logp = torch.tensor([[0.95, 0.5], [0.95, 0.5]]).log()
    mask = torch.ones_like(logp)
    tokens = read_tokens(logp, logp, mask, None, None, torch.tensor([2.0, -1.0]), mask, None)
    after, metrics = names["spare_sure_tokens"](tokens, sure_above=0.9)
    assert after.advantages.tolist() == [[0.0, 2.0], [-1.0, -1.0]]
    assert metrics["sure"].value() == 0.25


@pytest.mark.usefixtures("tables")
def test_a_new_verifier_and_a_new_task(capsys):
    names: dict = {}
    exec(blocks(EXTEND)[2], names)
    assert capsys.readouterr().out == "['correct', 'wrong', 'unparsed']\n"
    with pytest.raises(ValueError, match="problem 'p': the gold answer '42' is not a word"):
        names["check_problems"]("last_word", [names["Problem"]("p", "", "42")])
    exec(blocks(EXTEND)[3], names)
    train, test = (names["task"].load(split) for split in ("train", "test"))
    assert {p.id for p in train} | {p.id for p in test} == set(names["WORDS"])
    assert min(len(train), len(test)) > 1
    assert not {p.id for p in train} & {p.id for p in test}


@pytest.mark.parametrize("name", ["simko", "simko_reference", "pkpo", "forking_tokens", "psr", "gspo", "entropy_bonus"])
def test_a_new_engine_trains_the_row_s_loss(name):
    """One update in micro-batches moves the weights by the gradient of Method.loss on the whole update."""
    import torch

    from simko.objectives import METHODS

    names: dict = {}
    exec(blocks(EXTEND)[4], names)
    row = METHODS[name].with_options(**{"k": 2} if name == "pkpo" else {})
    policy, ids, old_logp, mask = (names[word] for word in ("policy", "ids", "old_logp", "mask"))
    rewards, groups = names["rewards"], names["groups"]
    logp, entropy, gap, is_top1 = names["score"](row, policy, ids)
    generator = torch.Generator().manual_seed(0)
    loss, metrics = row.loss(rewards, groups, logp, old_logp, entropy, gap, is_top1, mask, generator=generator)
    (gradient,) = torch.autograd.grad(loss, policy.weight)
    assert gradient.abs().max() > 1e-4
    before, optimizer = policy.weight.detach().clone(), torch.optim.SGD(policy.parameters(), lr=1.0)
    adaptation, processes = names["Adaptation"](row), names["OneProcess"]()
    means = names["update"](adaptation, policy, optimizer, ids, old_logp, mask, rewards, groups, processes)
    torch.testing.assert_close(before - policy.weight.detach(), gradient, rtol=1e-4, atol=1e-6)
    assert means == pytest.approx({name: metric.item() for name, metric in metrics.items()}, rel=1e-4)


WALKS = {"Token links in TRL's loss": "simko", "The row's own loss": "forking_tokens"}


@pytest.mark.parametrize("heading", WALKS)
def test_the_walk_from_forward_to_loss(heading, tmp_path):
    """Its steps are files through which a micro-batch goes, six at most, and functions that are called there."""
    from methods import method_trainer

    trainer, called = method_trainer(tmp_path, WALKS[heading], max_steps=1), set()
    loss = trainer._compute_loss

    def watched(*args):
        sys.setprofile(lambda frame, *_: called.add((frame.f_code.co_filename, frame.f_code.co_name)))
        try:
            return loss(*args)
        finally:
            sys.setprofile(None)

    trainer._compute_loss = watched
    trainer.train()
    section = (ROOT / EXTEND).read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n##")[0]
    steps = re.findall(r"^\d\. (.*\n(?:   .*\n)*)", section, re.MULTILINE)
    assert 1 < len(steps) <= 6
    for step in steps:
        file, *words = re.findall(r"`([\w/.]+)`", step)
        assert str(ROOT / "src" / "simko" / file) in {path for path, _ in called}
        functions = {word for word in words if not word.endswith(".py")}
        assert functions <= {name for path, name in called if path.startswith(str(ROOT / "src"))}
        assert functions


START = "docs/start.md"


def test_the_loop_that_is_shown_is_the_one_that_trains():
    from simko.studies import loop

    assert textwrap.indent(blocks(START)[0], "    ").rstrip() in inspect.getsource(loop.train)
    assert len(inspect.getsource(loop).splitlines()) < 200


def test_the_loop_trains_a_puzzle(tiny_base, capsys):
    text = blocks(START)[1].replace("warm_started_model(WarmStart(), threads=1)", repr(str(tiny_base)))
    exec(text.replace("rollouts=120", "rollouts=2, problems=4"), {})
    assert capsys.readouterr().out.count("'reward': ") == 2


def test_the_walk_of_the_start_page(folder, tmp_path, monkeypatch, capsys):
    """Each command in its order, with fewer steps and samples."""
    from simko.cli.main import main

    monkeypatch.chdir(tmp_path)
    fewer = {"$MODEL": str(folder), "20": "2", "64": "4", "--method": "--save_steps=2 --method", "-n": "--limit 5 -n"}
    walked = []
    for block in doc_blocks.blocks(START, "sh"):
        for name, command, *words in doc_blocks.commands(block.text):
            if name == "simko":
                shorter = " ".join(fewer.get(word, word) for word in words).replace("checkpoint-20", "checkpoint-2")
                assert main([command, *shorter.split()]) == 0, capsys.readouterr().err
                walked.append(command)
    assert walked == ["train", "train", "evaluate", "evaluate", "evaluate", "compare", "report"]
    assert "simko − grpo" in capsys.readouterr().out
    assert all(Path(name).stat().st_size > 10_000 for name in ("comparison.html", "training.html"))


EVALUATION = "docs/evaluation.md"


def test_evaluate_and_compare_from_python(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = blocks(EVALUATION)[0].split("found =")
    first = first.replace("Qwen/Qwen2.5-Math-7B", str(folder)).replace("aime24", "multiplication")
    exec(first.replace("samples=256", "samples=4, limit=9, quiet=True"), names := {})
    for seed in ("s1", "s2", "s3"):
        shutil.copytree("runs/qwen", f"runs/{seed}")
    exec("found =" + second, names)
    assert "pass@K" in names["found"]._repr_html_()
    assert len(names["found"].curves) > 0


def test_a_verdict():
    from simko.records import Verdict

    call, _, said = blocks(EVALUATION)[1].strip().splitlines()[-1].partition("  # ")
    exec(blocks(EVALUATION)[1], names := {})
    assert eval(call, names) == eval(said, {"Verdict": Verdict})


@pytest.mark.parametrize(("page", "number", "name"), [(EVALUATION, 2, "judge"), ("docs/training.md", 0, "right")])
def test_a_verifier_in_a_file(page, number, name, tmp_path):
    from simko.records import Problem
    from simko.verifiers import get_verifier, grade_many

    (tmp_path / "judge.py").write_text(blocks(page)[number])
    problem = Problem("p", "1 + 1 =", "2")
    verdicts = grade_many(get_verifier(f"./judge.py:{name}", folder=tmp_path), [("it is 2", problem), ("3", problem)])
    assert [verdict.outcome for verdict in verdicts] == ["correct", "wrong"]


def test_passk_during_training(tmp_path, monkeypatch):
    from methods import method_trainer

    from simko.records import Problem

    monkeypatch.chdir(tmp_path)
    held_out = [Problem(str(i), f"{i} + 1 =", str(i + 1)) for i in range(2)]
    trainer = method_trainer(tmp_path / "out", "grpo", max_steps=1)
    code = blocks(EVALUATION)[3].replace("n=32", "n=2")
    assert "n=2" in code
    exec(code, {"trainer": trainer, "held_out": held_out})
    trainer.train()
    assert any("eval_pass@2" in row for row in trainer.state.log_history)
    assert Path("runs/mine/held-out.db").is_file()


def test_the_statistics_of_a_head():
    import torch

    from simko.token_stats import token_stats

    torch.manual_seed(0)
    model = torch.nn.Module()
    model.lm_head = torch.nn.Linear(8, 32, bias=False)
    hidden, tokens = torch.randn(2, 5, 8), torch.randint(32, (2, 5))
    exec(blocks("docs/token_stats.md")[0], names := {"model": model, "hidden": hidden, "tokens": tokens})
    torch.testing.assert_close(names["stats"].logp, token_stats(model.lm_head(hidden), tokens, top_k=3).logp)


def test_the_quickstart_by_another_penalty(monkeypatch):
    """Ten minutes, of which the call is checked: its arguments, and what becomes of the recipe."""
    from simko.studies import quickstart as study
    from simko.training.recipe import find_recipe, read_recipe

    called = create_autospec(study.quickstart)
    monkeypatch.setattr(study, "quickstart", called)
    exec(blocks("docs/results/quickstart.md")[0], {})
    overrides = called.call_args.kwargs["overrides"]
    assert read_recipe(find_recipe("quickstart.yaml"), overrides).training.simko_penalty == "advantage"


DIAGNOSE = "docs/diagnose.md"


def test_the_records_of_a_diagnosis(folder, tmp_path, monkeypatch, capsys):
    from simko.cli.main import main

    monkeypatch.chdir(tmp_path)
    drawn = f"evaluate --model {folder} --task multiplication --limit 2 -n 2 --quiet --out runs/eval"
    read = f"diagnose --model simko={folder} --samples runs/eval --quiet --out page.html"
    assert [main(words.split()) for words in (drawn, read)] == [0, 0], capsys.readouterr().err
    exec(blocks(DIAGNOSE)[0], names := {})
    assert {"entropy", "correct", "rank", "gated"} <= set(names["tokens"].columns)


def test_concentration_in_any_trainer(tmp_path):
    from tiny import digit_share, tiny_dataset, tiny_model, tiny_tokenizer
    from trl import GRPOConfig, GRPOTrainer

    args = GRPOConfig(str(tmp_path), max_steps=1, max_completion_length=4, use_cpu=True, bf16=False, report_to="none")
    trainer = GRPOTrainer(tiny_model(), digit_share, args, tiny_dataset(), processing_class=tiny_tokenizer())
    code = blocks(DIAGNOSE)[1].replace("every=20", "every=1")
    exec(code, {"trainer": trainer})
    trainer.train()
    assert (tmp_path / "diagnostics.jsonl").is_file()


def test_concentration_in_a_loop_of_ones_own():
    import torch

    from simko.token_stats import token_stats

    torch.manual_seed(0)
    s = token_stats(torch.randn(2, 5, 32), torch.randint(32, (2, 5)), top_k=6)
    batches = [(s.logp, s.entropy, s.topk_logp, torch.ones(2, 5), torch.tensor([True, False]))]
    exec(blocks(DIAGNOSE)[2], names := {"batches": batches})
    assert names["sums"].summary()["concentration_log10"]
