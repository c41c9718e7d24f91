"""The numbers of the head-to-head, on rows with known pass rates."""

import math
from dataclasses import replace

import numpy as np
import pytest
from head_to_head_rows import OTHERS, SAMPLES, finals, row, tuning

from simko.evaluate import paired_difference, pass_at_k, simultaneous_band
from simko.evaluate.intervals import holm
from simko.studies.head_to_head import findings, mechanism
from simko.studies.head_to_head.rows import EARLY, Results, read_rows

TASK = "sums"
HEAD = (1, 16, 64)


@pytest.fixture(scope="module")
def landed() -> Results:
    return Results(finals(), ["grpo", "simko", *OTHERS])


def of(rates_by_method, seeds=(1, 2, 3), problems=60):
    """Finals alone, each method at its own pass rates."""
    return Results(
        [
            row(method, np.broadcast_to(rate, problems), seed=seed + 1000 * i)
            for i, (method, rate) in enumerate(rates_by_method.items())
            for seed in seeds
        ],
        list(rates_by_method),
    )


def same_seeds(results: Results) -> Results:
    """The rows with seeds that the methods share; they were drawn with different ones."""
    return Results([replace(r, seed=r.seed % 1000) for r in results.rows], results.methods(TASK))


def test_finals_are_means_over_seeds_of_the_unbiased_estimate(landed):
    (simko,) = (end for end in findings.finals(landed, TASK) if end.method == "simko")
    rows = landed.end(TASK, "simko")
    assert (simko.seeds, {r.step for r in rows.values()}) == ((1, 2, 3), {80})
    for k in HEAD:
        by_seed = [np.mean([pass_at_k(SAMPLES, c, k) for c in r.correct]) for r in rows.values()]
        assert simko.at_1[k].by_seed == pytest.approx(by_seed)
        assert simko.at_1[k].point.estimate == pytest.approx(np.mean(by_seed))
        assert simko.at_1[k].point.low < np.mean(by_seed) < simko.at_1[k].point.high
    assert simko.seconds == pytest.approx(80 * 2.4)


def test_methods_stand_in_the_order_of_the_protocol_with_the_rivals_that_are_not_trained(landed):
    assert landed.methods(TASK) == ("base", "grpo", EARLY, "simko", *OTHERS)


def test_the_best_temperature_is_chosen_on_validation_problems_for_each_outcome():
    """pass@1 is best cold and pass@64 hot on validation; on test the reverse would win."""
    cold, hot = np.repeat([0.9, 0.0], 30), np.full(60, 0.2)
    rows = [
        row("grpo", rate, split=split, temperature=t, seed=seed)
        for seed in (1, 2)
        for split, rates_at in (("validation", {0.6: cold, 1.0: hot}), ("test", {0.6: hot, 1.0: cold}))
        for t, rate in rates_at.items()
    ]
    results = Results(rows, [])
    (end,) = findings.finals(results, TASK)
    assert [end.at_best[k].temperature for k in HEAD] == [0.6, 1.0, 1.0]
    assert end.at_best[1].point.estimate == pytest.approx(0.2, abs=0.02)
    assert end.at_best[64].point.estimate == pytest.approx(0.5, abs=0.02)


def test_without_a_choice_of_temperatures_there_is_no_best_one():
    one = [row("grpo", np.full(60, 0.2), split=split) for split in ("validation", "test")]
    untested = [row("grpo", np.full(60, 0.4), split="validation", temperature=0.6)]
    assert Results(one + untested, []).best_temperature(TASK, "grpo", 1) is None


@pytest.mark.parametrize(("early", "at"), [((), 1.2), ((1,), None), ((1, 2), None)])
def test_temperatures_of_some_seeds_alone_are_no_choice(early, at):
    """A seed that is stopped before its last rollout has no other temperature there."""
    rows = [
        row("grpo", np.full(60, 0.5 if (step == 20) == (seed in early) else 0.3), seed=seed, step=step, split=split)
        for seed in (1, 2)
        for split in ("validation", "test")
        for step in (20, 80)
    ]
    rows += [replace(r, temperature=1.2, correct=(100,) * 60) for r in rows if r.step == 80]
    results = Results(rows, [], stopped=["grpo"])
    assert results.end(TASK, "grpo").keys() == {1, 2}
    assert results.best_temperature(TASK, "grpo", 1) == at


def test_grpo_is_stopped_for_each_seed_where_its_validation_pass_at_64_is_best():
    best = {1: 20, 2: 40}
    rows = [
        row(
            "grpo",
            np.full(60, 0.02 if (split == "validation") == (step == best[seed]) else 0.001),
            seed=seed,
            step=step,
            split=split,
        )
        for seed in best
        for step in (20, 40, 60)
        for split in ("validation", "test")
    ]
    early = Results(rows, []).end(TASK, EARLY)
    assert {seed: r.step for seed, r in early.items()} == best
    assert all(r.split == "test" and r.mean_pass(64) < 0.2 for r in early.values())
    stopped = Results(rows, [], ["grpo"])
    assert {seed: r.step for seed, r in stopped.end(TASK, "grpo").items()} == best
    assert stopped.without_course == {"base", EARLY, "grpo"}
    untested = [r for r in rows if r.split == "validation" or r.step != 20]
    assert {r.step for r in Results(untested, []).end(TASK, EARLY).values()} <= {40, 60}


def test_a_known_difference_is_found_and_equal_methods_do_not_differ():
    p = np.random.default_rng(3).beta(1, 6, 60)
    results = same_seeds(of({"grpo": p, "simko": np.minimum(p + 0.15, 1), "nsr": p}))
    compared = findings.differences(results, TASK, at_best=False)
    better, equal = compared["simko", "grpo"][1], compared["nsr", "grpo"][1]
    assert better.difference == pytest.approx(0.15, abs=0.02)
    assert better.band.low < 0.15 < better.band.high
    assert better.p < 0.01
    assert equal.p > 0.05
    assert equal.band.low < 0 < equal.band.high


def test_bands_hold_for_all_k_at_once_and_p_is_adjusted_over_the_methods(landed):
    compared = findings.differences(landed, TASK, at_best=False)
    others = [m for m in landed.methods(TASK) if m != "grpo"]
    ks = [2**i for i in range(SAMPLES.bit_length() - 1)]
    grpo = [r.counts for r in landed.end(TASK, "grpo").values()]
    values = {m: np.stack([r.passes(ks) for r in landed.end(TASK, m).values()]) for m in (*others, "grpo")}
    bands = {m: simultaneous_band(values[m] - values["grpo"], ks)[0] for m in others}
    for k in HEAD:
        raw = {m: next(b for b in bands[m] if b.k == k) for m in others}
        adjusted = holm(np.array([raw[m].p for m in others]))
        assert [compared[m, "grpo"][k].p for m in others] == pytest.approx(adjusted.tolist())
        assert min(adjusted) > min(b.p for b in raw.values())
        for m in others:
            one = paired_difference([r.counts for r in landed.end(TASK, m).values()], grpo, [k]).points[0]
            got = compared[m, "grpo"][k]
            assert (got.band.low, got.band.high) == pytest.approx((raw[m].low, raw[m].high))
            assert got.band.high - got.band.low > one.high - one.low
            assert got.difference == pytest.approx(one.difference)


def test_the_mean_over_the_primary_ks_is_compared_by_problem_and_seed(landed):
    grpo, simko = landed.end(TASK, "grpo"), landed.end(TASK, "simko")
    gap = np.stack([(simko[s].passes(HEAD) - grpo[s].passes(HEAD)).mean(axis=1, keepdims=True) for s in simko])
    found = findings.mean_differences(landed, TASK)
    (band,), _ = simultaneous_band(gap, [1])
    got = found["simko", "grpo"]
    assert got.difference == pytest.approx(gap.mean())
    assert (got.band.low, got.band.high) == pytest.approx((band.low, band.high))
    assert got.p >= band.p
    assert found.keys() == findings.differences(landed, TASK, at_best=False).keys()


def test_differences_pair_the_seeds_that_both_have():
    rows = [row("grpo", np.full(60, 0.1), seed=s) for s in (1, 2, 3)]
    rows += [row("simko", np.full(60, rate), seed=s) for s, rate in ((2, 0.2), (3, 0.4), (9, 0.9))]
    compared = findings.differences(Results(rows, []), TASK, at_best=False)["simko", "grpo"][1]
    means = {(r.method, r.seed): np.mean(r.correct) / SAMPLES for r in rows}
    by_seed = [means["simko", s] - means["grpo", s] for s in (2, 3)]
    assert compared.difference == pytest.approx(np.mean(by_seed))
    assert compared.over_seeds == pytest.approx(np.std(by_seed, ddof=1))
    apart = Results([r for r in rows if r.seed in (1, 9)], [])
    assert findings.differences(apart, TASK, at_best=False) == {}


def test_the_base_is_the_same_for_every_seed():
    rows = [row("base", np.full(60, 0.05), stage="base", step=0, seed=0)]
    rows += [row("grpo", np.full(60, rate), seed=s) for s, rate in ((1, 0.2), (2, 0.3))]
    d = findings.differences(Results(rows, []), TASK, at_best=False)["base", "grpo"][1]
    base, *ours = (np.mean(r.correct) / SAMPLES for r in rows)
    assert d.difference == pytest.approx(base - np.mean(ours))
    assert d.over_seeds == pytest.approx(np.std(ours, ddof=1))


def test_too_few_differing_problems_have_no_band_and_no_p():
    same = row("grpo", np.full(60, 0.5))
    other = replace(same, method="simko", correct=(*same.correct[:-2], 0, 0))
    d = findings.differences(Results([same, other], []), TASK, at_best=False)["simko", "grpo"][1]
    assert (d.band, d.p, d.over_seeds) == (None, 1.0, None)
    assert d.difference < 0


@pytest.mark.parametrize(
    ("start", "end", "passes"), [(0.1, 0.3, True), (0.1, 0.15, False), (0.3, 0.9, False), (0.001, 0.3, False)]
)
def test_a_base_has_room_if_it_is_low_at_1_high_at_128_and_grpo_doubles_it(start, end, passes):
    base = [row("base", np.full(60, start), stage="base", step=0, seed=0, split=s) for s in ("validation", "test")]
    assert findings.base_check(Results(base, []), TASK).passes is None
    worse, best = (
        row("grpo", np.full(60, rate), stage="tuning", split="validation", setting={"learning_rate": rate})
        for rate in (end / 2, end)
    )
    check = findings.base_check(Results([*base, worse, best, row("grpo", np.full(60, 0.9))], []), TASK)
    assert check.passes is passes
    assert check.grpo == best.mean_pass(1)
    assert check.gain == pytest.approx(end / start, rel=0.3)


def test_training_starts_at_the_base_and_is_followed_on_the_problems_that_were_evaluated(landed):
    points = mechanism.courses(landed, TASK)["simko"]
    assert [p.step for p in points] == [0, 20, 40, 60, 80]
    assert points[0].first.estimate == landed.end(TASK, "base")[0].mean_pass(1)
    assert landed.course_split(TASK) == "test"
    ends_tested = Results([r for r in finals() if r.split == "validation" or r.step in (0, 80)], [])
    assert ends_tested.course_split(TASK) == "validation"
    assert mechanism.courses(ends_tested, TASK)["simko"][0].first.estimate == pytest.approx(
        ends_tested.end(TASK, "base", "validation")[0].mean_pass(1)
    )


def test_runs_that_ended_early_are_left_out_and_named():
    rows = [r for r in finals() if not (r.method == "nsr" and r.seed == 2 and r.step == 80)]
    results = Results(rows, [])
    assert results.unfinished == {(TASK, "nsr", 2)}
    assert sorted(results.end(TASK, "nsr")) == [1, 3]


ONE = row("grpo", np.full(60, 0.2))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([ONE, ONE], "two rows are of one evaluation"),
        ([ONE, replace(ONE, seed=2, correct=ONE.correct[1:])], "59 and on 60 problems"),
        ([ONE, replace(ONE, seed=2, setting='{"learning_rate": 1}')], "finals at two settings"),
        ([ONE, replace(ONE, seed=2, protocol="1")], "rows of two protocols"),
        ([replace(ONE, stage="finals")], "stage is 'finals'"),
        ([replace(ONE, split="train")], "split is 'train'"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        Results(rows, [])


def test_rows_are_read_from_parquet_as_they_were_written(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = finals(seeds=(1,)) + tuning()
    table = pa.Table.from_pylist([vars(r) | {"correct": list(r.correct)} for r in rows])
    pq.write_table(table, tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.parquet") == rows
    pq.write_table(table.drop_columns("seconds"), tmp_path / "old.parquet")
    with pytest.raises(ValueError, match=r"old\.parquet lacks the column seconds"):
        read_rows(tmp_path / "old.parquet")
    (tmp_path / "no.parquet").write_text("rows")
    with pytest.raises(ValueError, match=r"no\.parquet cannot be read"):
        read_rows(tmp_path / "no.parquet")
    with pytest.raises(ValueError, match=r"none\.parquet cannot be read"):
        read_rows(tmp_path / "none.parquet")


def test_a_measure_that_was_not_taken_is_not_a_number(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([vars(ONE) | {"reward": None, "concentration": None}]), tmp_path / "r.parquet")
    (found,) = read_rows(tmp_path / "r.parquet")
    assert math.isnan(found.reward)
    assert found.concentration == ()


@pytest.mark.slow
def test_equal_methods_differ_by_chance_as_rarely_as_stated():
    """Five equal methods against GRPO, 150 times: some p below .05 at some K, in at most about 5 % of the studies."""
    rng = np.random.default_rng(0)
    false, covered, studies = 0, [], 150
    for study in range(studies):
        p = rng.beta(1, 6, 80)
        rows = [
            replace(row(m, p, seed=seed), correct=tuple(rng.binomial(SAMPLES, p).tolist()))
            for m in ("grpo", "a", "b", "c", "d", "e")
            for seed in (1, 2)
        ]
        compared = findings.differences(Results(rows, []), TASK, at_best=False)
        false += any(d.p < 0.05 for at in compared.values() for d in at.values())
        covered += [
            all(d.band is None or d.band.low <= 0 <= d.band.high for d in at.values()) for at in compared.values()
        ]
        assert len(compared) == 5, study
    assert false / studies < 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)
    assert np.mean(covered) > 0.93
