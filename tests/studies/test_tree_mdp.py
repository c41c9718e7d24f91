"""The toy: its tree by hand, seeds that do not know of each other, and each method's update against its exact mean."""

import itertools
import json

import pytest
import torch

from simko.cli.main import main
from simko.objectives.methods import METHODS
from simko.studies.tree_figure import Panel, tree_svg
from simko.studies.tree_mdp import (
    ACTIONS,
    ACTIONS_PT,
    RESPONSES,
    REWARDS_P,
    RIGHT,
    ToySetting,
    draw,
    expected_update,
    losses,
    measure,
    response_ids,
    response_logp,
    run_all,
    sampled_updates,
    settings_of_all,
    settings_of_sweep,
    states_of,
    summary,
    train,
)

ROWS = [name for name, row in METHODS.items() if row.controller is None]

# Of groups of two, with a draw that is certain, and with terms that act at that size.
PAIR_OPTIONS = {
    "passk_training": {"k": 1},
    "pkpo": {"k": 2},
    "ordergrad": {"k": 1},
    "clip_cov": {"cov_share": 1.0, "cov_low": 0.1, "cov_high": 100.0},
}


def pair_row(name):
    return ToySetting(method=name, options=PAIR_OPTIONS.get(name, {})).row


@pytest.fixture(scope="module")
def policy():
    return 0.7 * torch.randn(21, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def probability(logits, response: str) -> float:
    """pi(response) by walking down the tree, a state being known by the letters before it."""
    names = ["", *ACTIONS, *(a + b for a, b in itertools.product(ACTIONS, repeat=2))]
    p = 1.0
    for step, letter in enumerate(response):
        p *= logits[names.index(response[:step])].softmax(-1)[ACTIONS.index(letter)].item()
    return p


def test_the_64_responses_are_walks_down_the_tree(policy):
    assert sorted(RESPONSES[i] for i in REWARDS_P.nonzero().flatten()) == sorted(RIGHT)
    assert response_ids(ACTIONS_PT).tolist() == list(range(64))
    assert states_of(ACTIONS_PT[RESPONSES.index("BDC")]).tolist() == [0, 2, 12]
    p = response_logp(policy[None])[0].exp()
    assert p.tolist() == pytest.approx([probability(policy, r) for r in RESPONSES], rel=1e-12)
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_what_is_measured_at_policies_worked_out_by_hand():
    equal, certain = torch.zeros(21, 4, dtype=torch.float64), torch.zeros(21, 4, dtype=torch.float64)
    for state, action in ((0, 0), (1, 2), (7, 3)):  # A, C, D
        certain[state, action] = 40.0
    found = measure(torch.stack([equal, certain]))
    assert found.modes.tolist() == [6, 1]
    assert found.drawn.tolist() == [6, 1]
    assert found.accuracy.tolist() == pytest.approx([6 / 64, 1.0])
    assert found.entropy.tolist() == pytest.approx([4.158883, 0.0], abs=1e-6)


def test_accuracy_is_that_of_drawn_responses(policy):
    n = 20_000
    uniform = torch.rand(1, n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = torch.bincount(response_ids(draw(policy[None], uniform))[0], minlength=64)
    p = response_logp(policy[None])[0].exp()
    chi2 = ((counts - n * p) ** 2 / (n * p)).sum().item()
    assert chi2 < 114  # 0.9999 quantile, 63 degrees of freedom
    accuracy = measure(policy[None]).accuracy.item()
    assert (counts * REWARDS_P).sum().item() / n == pytest.approx(accuracy, abs=4 * (accuracy / n) ** 0.5)


@pytest.mark.parametrize("name", ROWS)
def test_a_seed_is_the_same_in_any_company(name):
    """Two updates on each batch, so that old_logp, clips and Adam's state differ between seeds too."""
    setting = ToySetting(method=name, batches=3, updates_each=2, seeds=4)
    together, alone = train(setting), train(setting, seeds=[2])
    torch.testing.assert_close(together[2], alone[0], rtol=0, atol=1e-10)
    assert (together[2] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ROWS)
def test_the_loss_of_a_seed_is_method_loss_of_its_group(name, policy):
    """psr, nsr and forking_tokens have denominators that depend on the group."""
    row = ToySetting(method=name).row
    uniform = torch.rand(5, 16, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = policy.expand(5, -1, -1)
    actions = draw(logits, uniform)
    found, _ = losses(row, logits, actions, None, [torch.Generator().manual_seed(s) for s in range(5)])
    for seed in range(5):
        all_logp = policy[states_of(actions[seed])].log_softmax(-1)
        logp = all_logp.gather(-1, actions[seed][..., None])[..., 0]
        top = all_logp.sort(-1, descending=True)
        weights = None
        if row.candidate_weights:
            likeliest = top.values[..., :3]
            weights = torch.full_like(likeliest, 1 / 3)
            if row.candidate_weights == "softmax":
                weights = likeliest.exp() / likeliest.exp().sum(-1, keepdim=True)
        loss, _ = row.loss(
            REWARDS_P[response_ids(actions[seed])],
            torch.zeros(16, dtype=torch.long),
            logp,
            logp,
            -(all_logp.exp() * all_logp).sum(-1),
            None if weights is None else (weights * likeliest).sum(-1) - logp,
            top.indices[..., 0] == actions[seed],
            torch.ones(16, 3),
            generator=torch.Generator().manual_seed(seed),
        )
        assert found[seed].item() == pytest.approx(loss.item(), abs=1e-12)


def accuracy_gradient(logits, function=lambda p: p):
    """d function(P(right)) / d logits, through the 64 enumerated probabilities."""
    leaf = logits.clone().requires_grad_()
    function((response_logp(leaf[None])[0].exp() * REWARDS_P).sum()).backward()
    return leaf.grad


@pytest.mark.parametrize(
    ("name", "gradient"),
    [
        ("rloo", accuracy_gradient),
        ("ordergrad", accuracy_gradient),
        ("dr_grpo", lambda logits: accuracy_gradient(logits) / 2),  # (G - 1) / G
        ("w_reinforce", lambda logits: 1.1 * accuracy_gradient(logits)),  # 0.1 r - (1 - r); a constant adds nothing
        ("pkpo", lambda logits: accuracy_gradient(logits, lambda p: 1 - (1 - p) ** 2)),
        ("best_of_k", lambda logits: accuracy_gradient(logits, lambda p: 1 - (1 - p) ** 2) / 2),
    ],
)
def test_the_expected_update_is_the_gradient_that_the_method_estimates(name, gradient, policy):
    """Over all 64^2 groups; the mean over 3 tokens makes the third."""
    torch.testing.assert_close(expected_update(pair_row(name), policy, 2), gradient(policy) / 3, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [pytest.param(m, marks=pytest.mark.slow if METHODS[m].selects else ()) for m in ROWS])
@pytest.mark.few(8)
def test_sampled_updates_agree_with_the_exact_expectation(name, policy):
    """A z-test of 84 parameters over 1,500 groups of two; each |z| < 4.75 is one false alarm in 5,000 methods."""
    n, row = 1500, pair_row(name)
    uniform = torch.rand(n, 2, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    sampled = sampled_updates(row, policy, draw(policy.expand(n, -1, -1), uniform))
    exact = expected_update(row, policy, 2)
    error = sampled.std(0) / n**0.5
    often = (sampled != 0).sum(0) > 30  # a normal approximation needs that many
    assert often[0].all()
    assert ((sampled.mean(0) - exact).abs() <= 4.75 * error)[often].all()
    assert (exact.abs() > 3 * error).any(), "the test could not tell the update from none"


@pytest.mark.slow
def test_processes_and_order_do_not_matter():
    settings = [ToySetting(method=m, seeds=2, batches=3, optimizer="sgd") for m in ("grpo", "kl_cov")]
    for one, other in zip(run_all(settings, 1), run_all(settings, 2), strict=True):
        assert torch.equal(one, other)


def test_grpo_learns_the_toy():
    setting = ToySetting(method="grpo", seeds=4, batches=150)
    row = summary(setting, measure(train(setting)))
    assert row["accuracy"] > 0.7
    low, high = row["entropy_interval"]
    assert low < row["entropy"] < high < 4.16
    assert row["updates"] == 150


def test_an_interval_is_student_s():
    setting = ToySetting(method="grpo", seeds=4)
    found = measure(torch.zeros(4, 21, 4, dtype=torch.float64))
    values = [torch.tensor(x, dtype=torch.float64) for x in ([1.0, 2.0, 2.0, 3.0], [6.0, 6.0, 6.0, 5.0])]
    row = summary(setting, found._replace(modes=values[0], drawn=values[1]))
    assert row["modes"] == 2
    assert row["modes_interval"] == pytest.approx([0.7008, 3.2992], abs=1e-4)  # 2 -+ 3.18245 x 0.81650 / sqrt(4)
    assert row["drawn_interval"] == pytest.approx([4.9544, 6.0], abs=1e-4)  # cut at 6


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"method": "ppo"}, "unknown method 'ppo'"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
        ({"seeds": 1}, "seeds must be at least 2"),
        ({"batches": 0}, "batches must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"options": {"alpha": 0.1}}, "grpo has no option 'alpha'"),
        ({"method": "simko_adaptive"}, "simko_adaptive changes from update to update"),
        ({"method": "simko", "options": {"alpha": 2.0}}, r"alpha must lie in \[0, 1\]"),
    ],
)
def test_bad_settings_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        ToySetting(**{"method": "grpo", **bad})


def test_every_method_is_run_and_the_sweep_has_no_setting_twice():
    assert [s.method for s in settings_of_all()] == ROWS
    sweep = settings_of_sweep(optimizer="sgd")
    assert len({(s.method, s.rate, *s.options.items()) for s in sweep}) == len(sweep) == 2 * 12 + 5 * 6
    assert [s.rate for s in sweep if s.method == "grpo"] == [0.0625, 0.125, 0.25, 0.5, 1, 2]


def test_the_command_prints_every_method_and_writes_numbers_and_tree(tmp_path, capsys):
    assert main(["toy", "--seeds", "2", "--steps", "2", "--workers", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[2 : 2 + len(ROWS)]] == ROWS
    rows = json.loads((tmp_path / "toy.json").read_text())
    assert list(rows) == ROWS
    assert {"modes", "drawn", "accuracy", "entropy", "accuracy_interval", "options"} <= set(rows["pkpo"])
    assert rows["pkpo"]["options"] == {"k": 4}
    assert "grpo" in (tmp_path / "toy.svg").read_text()


def test_the_command_takes_chosen_methods_and_the_sweep(tmp_path, capsys):
    words = ["toy", "--seeds", "2", "--steps", "1", "--workers", "1", "--methods", "maxrl,pkpo", "--out", str(tmp_path)]
    assert main(words) == 0
    assert list(json.loads((tmp_path / "toy.json").read_text())) == ["pkpo", "maxrl"]
    assert not (tmp_path / "toy.svg").exists()
    assert main([*words, "--methods", "pkpo", "--sweep"]) == 0
    assert [row["options"]["k"] for row in json.loads((tmp_path / "sweep.json").read_text())] == [2, 3, 4, 6, 8, 16]
    capsys.readouterr()
    assert main([*words, "--sweep"]) == 2
    assert "unknown method 'maxrl': choose from grpo, entropy_bonus" in capsys.readouterr().err


def test_the_command_refuses_bad_options_in_one_line(capsys):
    for words in (["--seeds", "1"], ["--steps", "0"], ["--optimizer", "lion"], ["--workers", "0"]):
        assert main(["toy", *words]) == 2
    assert main(["toy", "--steps", "3", "--updates-each", "2"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 5


def test_the_tree_marks_the_right_responses():
    certain = torch.zeros(21, 4, dtype=torch.float64)
    for state, action in ((0, 0), (1, 2), (7, 3)):
        certain[state, action] = 40.0
    svg = tree_svg([Panel("one <mode>", "#0072b2", certain)], "a & b")
    assert "ACD 1.000" in svg
    assert all(f"{response} lost" in svg for response in RIGHT[1:])
    assert "1 of 6 modes, accuracy 1.00" in svg
    assert "one &lt;mode&gt;" in svg
    assert "a &amp; b" in svg
