"""Evaluations in Python: the command's numbers in tables and figures, and what a notebook shows."""

import html
import re

import pandas as pd
import pyarrow as pa
import pytest
from test_runs import HOSTILE, write_run

from simko.evaluate import compare
from simko.report import read_sections


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / name, p, n=16) for name, p in (("base", 0.2), ("s1", 0.5), ("s2", 0.6))]


def test_it_compares_as_the_command_does(runs):
    base, *seeds = runs
    by_text = compare(str(base), f"simko={seeds[0]},{seeds[1]}", reference="base")
    by_name = compare(base=base, simko=seeds, reference="base")
    assert by_name == by_text
    assert by_name.sections == read_sections([f"base={base}", f"simko={seeds[0]},{seeds[1]}"], reference="base")
    with pytest.raises(ValueError, match="at least two runs"):
        compare(base)
    with pytest.raises(ValueError, match="none of the names compared"):
        compare(base=base, simko=seeds, reference="other")


def test_tables_are_those_of_the_sections_and_follow_the_protocols(runs):
    found = compare(base=runs[0], simko=runs[1:])
    (section,) = found.sections
    curves = found.curves.to_pandas()
    assert list(curves.model.unique()) == ["base", "simko"]
    assert curves.pass_at_k.tolist() == [p.estimate for side in section.sides for p in side.curve.points]
    assert curves[curves.k == 16].band_low.isna().all()
    assert (curves[curves.k < 16].band_low < curves[curves.k < 16].low).all()
    (pair,) = section.pairs
    assert found.differences["difference"].to_pylist() == [d.difference for d in pair.comparison.points]
    assert found.crossings["p_holm"].to_pylist() == [pair.p_holm]
    assert found.crossings["first_loss_from"].to_pylist() == [pair.crossing.first_loss[0]]
    assert len(found.by_difficulty) == sum(len(stratum.ours) for stratum in pair.strata) > 0
    for table in (found.curves, found.differences, found.crossings, found.by_difficulty):
        assert pa.table(table) == table  # by the Arrow stream, which polars reads
        frame = pd.api.interchange.from_dataframe(table.__dataframe__())
        pd.testing.assert_frame_equal(frame, table.to_pandas(), check_dtype=False)


def test_one_run_has_no_pairs_and_still_tables(runs):
    from simko.report.results import read_results

    alone = read_results([str(runs[0])])
    assert (len(alone.differences), len(alone.crossings), len(alone.curves)) == (0, 0, 5)
    assert alone.crossings.column_names[:4] == ["task", "setting", "ours", "other"]


def test_a_notebook_shows_the_page_and_its_figures(runs, tmp_path):
    hostile = write_run(tmp_path / "hostile", 0.4, n=16, response=HOSTILE.replace("{", "{{").replace("}", "}}") + " {}")
    found = compare(base=runs[0], other=hostile)
    shown = found._repr_html_()
    (page,) = re.findall('^<iframe sandbox="allow-scripts" srcdoc="([^"]*)" style="[^"]*"></iframe>$', shown)
    assert html.unescape(page) == found.write_html(tmp_path / "page.html").read_text()
    assert html.unescape(page).count("<script") == 1
    for figure in found.figures:
        text = figure._repr_html_()
        assert text.count("<svg") == text.count("</svg>") == 1
        assert "--rule" in text
    assert [figure.title.rpartition(": ")[2] for figure in found.figures][:2] == ["pass@K", "differences"]
