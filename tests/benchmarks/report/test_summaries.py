import math

import pandas as pd
import pytest

from benchmarks.data.rows import ROWS
from benchmarks.report import summaries
from benchmarks.report.summaries import paired_differences, summarize, to_markdown


def runs_of(**recalls):
    rows = [
        {"loss": loss.replace("_", "-"), "seed": seed, "recall_at_1": r, "seconds": 2.0}
        for loss, values in recalls.items()
        for seed, r in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_confidence_interval_by_hand():
    # s = 1, n = 3, t(0.975, 2) = 4.302653
    width = summaries.confidence_half_width
    assert width(pd.Series([1.0, 2.0, 3.0])) == pytest.approx(4.302653 / 3**0.5)
    assert math.isnan(width(pd.Series([1.0])))


def test_table_keeps_the_order_and_shows_mean_and_interval():
    runs = runs_of(SNP=[0.8, 0.9], none=[0.5], ntxent=[0.7, 0.7])
    table = to_markdown(summarize(runs), ROWS, pd.Series(dtype=str))
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0] == ["loss", "uses", "R@1"]
    assert rows[2] == ["SNP", "S N P", "85.0 ± 63.5"]  # t(0.975, 1) = 12.7062, sem = 5
    assert rows[3] == ["none", "–", "50.0"]
    assert rows[4] == ["ntxent", "", "70.0 ± 0.0"]


def test_differences_are_paired_seed_by_seed():
    runs = runs_of(SNP=[0.80, 0.90, 0.85], pml_ms=[0.81, 0.91, 0.86], S=[0.7], raw_pixels=[0.5])
    runs = runs.replace({"raw-pixels": "raw pixels"})
    differences = paired_differences(runs, "SNP")
    assert differences.to_dict() == {"pml-ms": "+1.0 ± 0.0", "S": "-10.0"}
    table = to_markdown(summarize(runs), ROWS, differences)
    assert "| R@1 − SNP   |" in table.splitlines()[0]
    (row,) = [line for line in table.splitlines() if line.startswith("| SNP")]
    assert row.split("|")[-2].strip() == ""
    assert len(paired_differences(runs_of(S=[0.7]), "SNP")) == 0
