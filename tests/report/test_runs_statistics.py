"""Bands, difficulty and the model beyond n in the terminal, the page and the JSON of a comparison; large evaluations."""

import itertools
import json
import re
import time

import numpy as np
import pytest
from test_runs import write_run

from simko.cli.main import main
from simko.evaluate import SampleStore, by_difficulty, crossing, extrapolate
from simko.records import Problem, Sample, Verdict
from simko.report import read_sections


def write_chances(folder, chances, n, seed, answers=2):
    """A run whose problem i is solved with chance i; each of its incorrect answers is as likely as another."""
    rng = np.random.default_rng(seed)
    given = [Problem(f"q{i:03d}", "?", "right") for i in range(len(chances))]
    with SampleStore(folder / "samples.db") as store:
        setting = store.begin("sums", "T=1", {"temperature": 1.0}, "math", given, n)
        for problem, chance in zip(given, chances, strict=True):
            right, other = rng.random(n) < chance, rng.integers(0, answers, n)
            samples = [Sample(problem.id, i, "so", 10, "stop") for i in range(n)]
            verdicts = [
                Verdict("correct", "right") if c else Verdict("wrong", str(x))
                for c, x in zip(right, other, strict=True)
            ]
            store.add(setting, samples, verdicts)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    p = np.random.default_rng(0).beta(0.7, 2, 100)
    base = write_chances(root / "base", p, 64, 1)
    sharp = write_chances(root / "sharp", np.where(p > 0.15, np.minimum(1, 1.8 * p), p / 20), 64, 2)
    return [str(base), str(sharp)]


def test_the_numbers_are_those_of_the_functions(pair):
    (section,) = read_sections(pair)
    base, sharp = (side.evaluations[0].counts for side in section.sides)
    (found,) = section.pairs
    assert found.crossing == crossing(sharp, base)
    assert found.strata == by_difficulty(sharp, base, [1, 2, 4, 8, 16])
    assert section.sides[0].model == extrapolate(base)
    for side in section.sides:
        assert list(side.band) == list(range(1, 33))
        for point in side.curve.points[:-1]:
            low, high = side.band[point.k]
            assert low < point.low < point.high < high
        assert all(a[0] <= b[0] + 0.02 for a, b in itertools.pairwise(side.band.values()))


def test_terminal_page_and_json_say_them(pair, tmp_path, capsys):
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    assert main(["compare", *pair, "--html", str(page), "--json", str(numbers)]) == 0
    printed = capsys.readouterr().out
    assert "sharp − base by difficulty for base" in printed
    assert "sharp is first behind base" in printed
    text = page.read_text()
    assert text.count("band, all K at once") == 3
    for words in ("sharp − base by difficulty for base", "below 1/16", "Beyond n: a model, not a measurement"):
        assert words in text
    (row,) = json.loads(numbers.read_text())
    (found,) = row["pairs"]
    assert set(found["band"]) == {str(k) for k in range(1, 33)}
    assert set(row["sides"]["base"]["band"]) == {str(k) for k in range(1, 33)}
    assert found["by_difficulty"]["never"]["difference"]["16"][2] < 0
    low, high = found["first_loss"]
    assert 1 < low <= high <= 32


def test_where_a_loss_comes_from_is_said(pair, tmp_path):
    (section,) = read_sections(pair)
    assert main(["report", *pair, "--to", str(tmp_path / "page.html")]) == 0
    text = " ".join(re.sub("<[^>]*>", " ", (tmp_path / "page.html").read_text()).split())
    said = re.search(
        r"At K = 16, sharp stands (\S+) points against base(?:, without \S+ problems in strata of too few)?\. By how "
        r"often base solves a problem: (.*?)\. ",
        text,
    )
    strata = [stratum for stratum in section.pairs[0].strata if stratum.ours]
    every = sum(stratum.problems for stratum in strata)
    adds = {stratum.name: 100 * stratum.problems / every * stratum.differences[-1].difference for stratum in strata}
    parts = [float(part.split()[0].replace("−", "-")) for part in said[2].split(", ")]
    assert parts == pytest.approx(list(adds.values()), abs=0.051)
    assert float(said[1].replace("−", "-")) == pytest.approx(sum(adds.values()), abs=0.051)
    assert sum(adds.values()) < 0
    said_of = {
        "below 1/16": "in less than 1/16 of",
        "below 1/2": "in 1/16 to 1/2 of",
        "1/2 or more": "in 1/2 or more of",
    }
    for part, name in zip(said[2].split(", "), adds, strict=True):
        assert said_of.get(name, "never") in part


def test_the_model_stands_in_no_table_and_a_bad_one_is_not_drawn(pair, tmp_path):
    page = tmp_path / "page.html"
    assert main(["report", pair[0], "--to", str(page)]) == 0
    text = re.sub("<figure>.*?</figure>", "", page.read_text(), flags=re.DOTALL)
    assert "Beyond n" in text
    assert not any("model" in table for table in re.findall("<table.*?</table>", text, re.DOTALL))
    assert not any(">128<" in table for table in re.findall("<table.*?</table>", text, re.DOTALL))
    mixed = write_chances(tmp_path / "mixed", np.repeat([0.3, 1e-5], 60), 64, 3)
    assert main(["report", str(mixed), "--to", str(page)]) == 0
    assert "Beyond n" not in page.read_text()
    assert "leaves the band" in page.read_text()


def test_few_samples_have_neither_strata_nor_bands(tmp_path):
    runs = [str(write_run(tmp_path / name, p, n=1)) for name, p in (("a", 0.3), ("b", 0.6))]
    (section,) = read_sections(runs)
    assert [side.band for side in section.sides] == [{}, {}]
    assert (section.pairs[0].strata, section.sides[0].model) == ((), None)
    assert main(["compare", *runs, "--html", str(tmp_path / "page.html")]) == 0


@pytest.mark.slow
def test_a_report_takes_time_by_the_samples_alone(tmp_path):
    spent = {}
    for n in (1000, 10_000):
        run = write_chances(tmp_path / str(n), np.linspace(0.0001, 0.9, 10), n, 0, answers=300)
        begun = time.process_time()
        assert main(["report", str(run), "--to", str(tmp_path / "page.html")]) == 0
        spent[n] = time.process_time() - begun
    assert spent[10_000] < min(20, 10 * spent[1000] + 5)
