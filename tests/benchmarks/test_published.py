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


FOLDER = ROOT / "benchmarks/results/tuning-glyphs-150it-50trials-500it-10seeds"
KEYS = ["row", "parameters"]
SUMMARY = pd.read_csv(FOLDER / "summary.csv", keep_default_na=False, na_values="").set_index(KEYS)
DIFFERENCES = pd.read_csv(FOLDER / "differences.csv", keep_default_na=False, na_values="")
DIFFERENCES = DIFFERENCES.set_index(["row", "without", "parameters"])


def points(table, name, *key):
    """A mean with its half-width, in points as the page writes it."""
    mean, width = 100 * table.loc[key, name], 100 * table.loc[key, f"{name}_ci"]
    return f"{mean:.1f} ± {width:.1f}".replace("-", "−")


def mean(row, parameters="tuned"):
    return f"{100 * SUMMARY.loc[(row, parameters), 'map_at_r']:.1f}"


def less(row, parameters="tuned"):
    return points(SUMMARY, "map_at_r_less", row, parameters)


def adds(row, without, parameters="tuned"):
    return points(DIFFERENCES, "map_at_r", row, without, parameters)


@pytest.mark.parametrize(
    "said",
    [
        f"N alone reaches {mean('N')}. That is {less('N')} above the paper's loss (SNP), "
        "and above\n"
        f"  PML's NT-Xent ({mean('ntxent')}), contrastive ({mean('contrastive')}) and semi-hard "
        f"triplet ({mean('triplet-semihard')}) losses.",
        f"P {adds('NP', 'N')}, S {adds('SN', 'N')}.",
        f"P cost {adds('NP', 'N', 'default')[1:]} (NP less N)\n"
        f"  and {adds('SNP', 'SN', 'default')[1:]} points (SNP less SN); tuned it costs "
        f"{adds('NP', 'N')[1:]} and {adds('SNP', 'SN')[1:]}.",
        f"S rises from {mean('S')} to {mean('S balanced')} and P from {mean('P')} to "
        f"{mean('P balanced')}.",
        f"reaches {mean('SP balanced')}: {less('SP balanced')} above SNP, and P adds "
        f"{adds('SP balanced', 'S balanced')} to S balanced.",
        f"SNP ({mean('SNP')}) is below N, NP ({mean('NP')}) and SN ({mean('SN')}).",
        f"tuned it is {less('contrastive')[1:]} above contrastive, "
        f"{less('triplet-semihard')[1:]} above triplet",
        f"differ from it by {less('pml-ms')}.",
    ],
)
def test_what_was_found_is_quoted_exactly(said):
    assert said in PAGE
