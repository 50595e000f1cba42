"""What the pages on the ablation quote is in the table of published results."""

import re
from pathlib import Path

import pandas as pd
import pytest

from pml_gpw.datasets import WorldNames

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/ablation.md", ROOT / "docs/ablation_details.md"
PAGE = "".join(page.read_text(encoding="utf-8") for page in PAGES)
VALIDATION = ROOT / "benchmarks/data/published_validation.csv"
PUBLISHED = pd.read_csv(VALIDATION, comment="#", index_col="run")
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
    expected = [PUBLISHED.loc[run, best] for run in runs for best in ("best_of_10", "best_of_50")]
    assert quoted == expected
    assert added == pytest.approx(quoted[3] - quoted[1], abs=1e-9)


def test_what_more_trials_are_worth():
    runs = PUBLISHED.loc[[run for pair in RUNS.values() for run in pair]]
    most = (runs["best_of_50"] - runs["best_of_10"]).max()
    assert f"the 40 trials after the first 10 are worth up to {most:.1f} points" in PAGE


RESULTS = ROOT / "benchmarks/results"
FIRST = RESULTS / "tuning-glyphs-150it-50trials-500it-10seeds"
NAMES = RESULTS / "tuning-worldnames-150it-50trials-500it-10seeds"
SECOND = RESULTS / "tuning-glyphs-150it-classifier-25trials-500it-10seeds-only-dee4d108"


def table(folder, name, *keys):
    found = pd.read_csv(folder / name, keep_default_na=False, na_values="")
    return found.set_index([*keys, "parameters"])


def mean(row, folder=FIRST):
    return f"{100 * table(folder, 'summary.csv', 'row').loc[(row, 'tuned'), 'map_at_r']:.1f}"


def signed(line, name, sign=1):
    """A mean with its half-width, in points as the page writes it."""
    width = 100 * line[f"{name}_ci"]
    return f"{100 * sign * line[name]:+.1f} ± {width:.1f}".replace("-", "−")


def less(row):
    line = table(FIRST, "summary.csv", "row").loc[(row, "tuned")]
    return signed(line, "map_at_r_less").removeprefix("+")


def gains(row, without, parameters="tuned", folder=FIRST):
    differences = table(folder, "differences.csv", "row", "without")
    return signed(differences.loc[(row, without, parameters)], "map_at_r")


def adds(*of, **folder):
    return gains(*of, **folder).removeprefix("+")


GAINS = {
    "N added to none": ("N", "none"),
    "N added to S": ("SN", "S"),
    "P added to SN, with the defaults": ("SNP", "SN", "default"),
    "P added to SN, tuned": ("SNP", "SN"),
    "P added to N, tuned": ("NP", "N"),
    "S added to N, tuned": ("SN", "N"),
    "S added to NP, tuned": ("SNP", "NP"),
}
LESS = {"N": "N", "NT-Xent": "ntxent", "contrastive": "contrastive"}
LESS["semi-hard triplet"] = "triplet-semihard"


def test_what_holds_on_both_sets_is_quoted_exactly():
    both = FIRST, NAMES
    for name, of in GAINS.items():
        assert f"| {name} | {' | '.join(gains(*of, folder=folder) for folder in both)} |" in PAGE
    for name, row in LESS.items():
        lines = [table(folder, "summary.csv", "row").loc[(row, "tuned")] for folder in both]
        cells = [signed(line, "map_at_r_less", -1) for line in lines]
        assert f"| SNP less {name} | {' | '.join(cells)} |" in PAGE
    ahead = "are\n  more than five points ahead of every other row"
    assert f"SN and SNP ({mean('SN', NAMES)}) {ahead}" in PAGE


@pytest.mark.parametrize(("name", "data"), [("letters", "glyphs"), ("names", "worldnames")])
def test_the_losses_of_the_field_are_quoted_exactly(name, data):
    folder = RESULTS / f"tuning-{data}-150it-25trials-500it-10seeds-only-d988189e"
    summary = table(folder, "summary.csv", "row").xs("tuned", level="parameters")
    rows = ("SN", "ntxent", "supcon", "circle", "sigmoid", "margin")
    cells = [signed(summary.loc[row], "map_at_r_less") for row in rows]
    assert f"| {name} | {' | '.join(cells)} |" in PAGE


def test_what_is_said_of_both_sets_in_words():
    for folder in (FIRST, NAMES):
        parameters = pd.read_csv(folder / "parameters.csv", keep_default_na=False)
        epsilon = parameters.set_index(["row", "parameter"]).loc[("SNP", "epsilon"), "best"]
        assert f"{float(epsilon):.2f}" == "0.64"
    summary = table(NAMES, "summary.csv", "row")
    tuned = summary.xs("tuned", level="parameters")["map_at_r_less"].drop(["SN", "SNP", "pml-ms"])
    assert tuned.max() < -0.05
    assert "N is worth most" in PAGE
    for folder in (FIRST, NAMES):
        alone = table(folder, "summary.csv", "row").xs("tuned", level="parameters")["map_at_r"]
        assert alone["N"] > max(alone["S"], alone["P"])


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
        f"it adds {adds('SN', 'N', folder=SECOND)} to N and "
        f"{adds('SNP', 'NP', folder=SECOND)} to NP.",
        f"Tuned SN is best ({mean('SN', SECOND)}), then SNP ({mean('SNP', SECOND)}),\n"
        f"  N ({mean('N', SECOND)}), NP ({mean('NP', SECOND)}), S ({mean('S', SECOND)}).",
        f"P adds {adds('NP', 'N', folder=SECOND)} to N and "
        f"{adds('SNP', 'SN', folder=SECOND)} to SN, where with the defaults it\n"
        f"  takes {adds('NP', 'N', 'default', SECOND)[1:]} and "
        f"{adds('SNP', 'SN', 'default', SECOND)[1:]}.",
        f"S alone is now within {adds('SN', 'S', folder=SECOND)} of SN.",
    ],
)
def test_what_was_found_is_quoted_exactly(said):
    assert said in PAGE


def test_differences_to_snp_are_those_of_the_tests():
    tests = pd.read_csv(FIRST / "tests.csv", keep_default_na=False, na_values="")
    tests = tests[tests["parameters"] == "tuned"]
    tuned = tests.pivot(index="seed", columns="row", values="map_at_r")
    found = tuned["N"] - tuned["SNP"]
    line = table(FIRST, "summary.csv", "row").loc[("N", "tuned")]
    assert line["map_at_r_less"] == pytest.approx(found.mean())
    width = 2.262157 * found.std() / len(found) ** 0.5  # Student's t of ten seeds
    assert line["map_at_r_less_ci"] == pytest.approx(width, rel=1e-5)


def test_the_difficulty_of_names_is_that_of_the_committed_tables():
    said = " ".join((WorldNames.__doc__ or "").split())
    untuned = pd.read_csv(RESULTS / "accuracy-worldnames-150it-3seeds.csv").set_index("loss")
    tuned = table(NAMES, "summary.csv", "row")
    found = [untuned.loc[name, "recall_at_1"] for name in ("TF-IDF of n-grams", "SNP")]
    found += [tuned.loc[("SNP", kind), "recall_at_1"] for kind in ("default", "tuned")]
    raw, short, default, best = (f"{100 * recall:.0f} %" for recall in found)
    assert f"character n-grams {raw}" in said
    assert f"{short} after 150 steps, {default} after 500 and, with tuned" in said
    assert f"hyper-parameters, {best}" in said


def test_what_is_said_without_tuning_is_the_committed_table():
    table = pd.read_csv(RESULTS / "accuracy-glyphs-500it-5seeds.csv", keep_default_na=False)
    recalls = table.set_index("loss")["recall_at_1"].astype(float)
    recall = {row: f"{100 * value:.1f}" for row, value in recalls.items()}
    said = " ".join(PAGE.split())
    assert f"N alone ({recall['N']}) is the best row" in said
    assert f"from {recall['none']} with constant weights" in said
    assert f"to {recall['S']} and {recall['P']}." in said
    steps = (("SN", "SNP"), ("N", "NP"), ("S", "SP"))
    lost = [f"{one} {recall[one]} → {two} {recall[two]}" for one, two in steps]
    assert f"but the constant one: {', '.join(lost)}." in said
    report = (RESULTS / "accuracy-glyphs-500it-5seeds.md").read_text(encoding="utf-8")
    assert "by at most 2.5e-07 and 1.5e-06, relative to their size" in report
    assert "by at most 2.5e-7 of its size and the gradient by 1.5e-6" in said
