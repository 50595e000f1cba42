"""What the page on the ablation quotes is in the table of published results."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/ablation.md").read_text(encoding="utf-8")
PUBLISHED = pd.read_csv(
    ROOT / "benchmarks/data/published_validation.csv", comment="#", index_col="run"
)
RUNS = {
    "CUB200": ("cub_multi_similarity", "cub_multi_similarity_with_ms_miner"),
    "CUB200, large batch": (
        "cub_multi_similarity_large_batch",
        "cub_multi_similarity_with_ms_miner_large_batch_wider_range",
    ),
    "Cars196": ("cars_multi_similarity", "cars_multi_similarity_with_ms_miner"),
    "SOP": ("sop_multi_similarity", "sop_multi_similarity_with_ms_miner"),
}


@pytest.mark.parametrize(("data", "runs"), RUNS.items())
def test_published_results_are_quoted_exactly(data, runs):
    (line,) = re.findall(rf"^\| {data} \| (.*) \|$", PAGE, re.MULTILINE)
    *quoted, added = map(float, line.split(" | "))
    expected = [
        PUBLISHED.loc[run, column] for run in runs for column in ("best_of_10", "best_of_50")
    ]
    assert quoted == expected
    assert added == pytest.approx(quoted[3] - quoted[1], abs=1e-9)
