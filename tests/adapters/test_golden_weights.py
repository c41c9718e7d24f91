"""Short runs of every row end with the weights that they ended with before: golden_weights.py tells how to compare bits."""

import json

import pytest
from golden_weights import FILE, RUNS, summary, trained

KEPT = json.loads(FILE.read_text())


ONE = "off-policy, accumulated"  # the others are slow tests


@pytest.mark.parametrize(
    ("name", "setting"), [pytest.param(*run, marks=[] if run[1] == ONE else pytest.mark.slow) for run in RUNS]
)
@pytest.mark.few(8)
def test_weights_after_three_updates(tmp_path, name, setting):
    found = summary(trained(tmp_path, name, setting))["projections"]
    assert found == pytest.approx(KEPT[f"{name}: {setting}"]["projections"], rel=1e-5, abs=1e-4)
