"""`simko diagnose` as tests call it, and the records that it writes."""

from pathlib import Path

import pandas as pd

from simko.cli.main import main


def diagnose(*words) -> int:
    return main(["diagnose", "--quiet", *map(str, words)])


def refusal(capsys, *words) -> str:
    capsys.readouterr()
    assert diagnose(*words) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("simko: error")]
    return line


def records(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "tokens").sort_values(["response", "position"]).reset_index(drop=True)
