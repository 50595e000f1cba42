"""The numbers of the pages on speed and large batches are those of the committed tables."""

from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SPEED, LARGE, PAIRS, FRONT = (
    " ".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").split())
    for page in ("speed", "large_batches", "pairs", "index")
)
TABLE = pd.read_csv(RESULTS / "speed-cpu.csv")
MINED = TABLE[(TABLE["task"] == "loss") & (TABLE["mined"] == True)]  # noqa: E712, a column
MS, FUSED, COMPOSED = "streamed (MSLoss)", "fused (MSLoss)", "composed (MSMiner + MSWeightedLoss)"


def between(column, method, digits=1, **where):
    """The smallest to the largest number of a method, as the page writes them."""
    chosen = MINED[MINED["method"] == method]
    for name, value in where.items():
        chosen = chosen[chosen[name].isin(value if isinstance(value, list) else [value])]
    low, high = (f"{end:.{digits}f}" for end in (chosen[column].min(), chosen[column].max()))
    assert len(chosen) > 1
    return f"{low} times" if low == high else f"{low} to {high} times"


LARGE_RANDOM = {"kind": "random", "N": [1000, 4000]}


@pytest.mark.parametrize(
    "said",
    [
        f"At N = 4,000 it is {between('faster_than_pml', MS, 0, N=4000)} as fast",
        f"a step takes {between('times_floor', MS, **LARGE_RANDOM)} the floor, "
        f"fused {between('times_floor', FUSED, **LARGE_RANDOM)}; "
        f"PML takes {between('times_floor', 'PML', **LARGE_RANDOM)}.",
        f"`MSWeightedLoss` is {between('faster_than_pml', COMPOSED, **LARGE_RANDOM)} as fast",
        f"`MSLoss` is {between('faster_than_pml', MS, kind='rank 48')} as fast as PML, "
        f"fused {between('faster_than_pml', FUSED, kind='rank 48')}, "
        f"`MSMiner` + `MSWeightedLoss` {between('faster_than_pml', COMPOSED, kind='rank 48')}.",
        f"At N = 80 `MSLoss` is {between('faster_than_pml', MS, N=80)} as fast as PML, "
        f"fused {between('faster_than_pml', FUSED, N=80)}, "
        f"and `MSMiner` + `MSWeightedLoss` {between('faster_than_pml', COMPOSED, N=80)}:",
    ],
)
def test_ratios_are_quoted_exactly(said):
    assert said in SPEED


def test_what_the_front_page_says_of_speed():
    assert f"is {between('faster_than_pml', MS, 0, N=4000)} as fast as PML" in FRONT


def test_trained_like_embeddings():
    rows = MINED[(MINED["kind"] == "trained-like") & (MINED["method"] == MS)].set_index("N")
    faster = rows["faster_than_pml"]
    said = f"{faster[1000]:.0f} times (N = 1,000) to {faster[4000]:.0f} times (N = 4,000)"
    assert f"That is {said} as fast as PML." in SPEED
    assert rows["times_floor"][[1000, 4000]].max() < 1.1, "about the floor, or less"
    peak = MINED[MINED["N"] == 4000].set_index(["kind", "method"])["peak_mb"]
    for kind in ("trained-like", "random"):
        assert peak[kind, MS] < 0.1 * peak[kind, "PML"], "less than a tenth of the memory"


def test_a_loss_of_your_own():
    rows = TABLE[TABLE["task"] == "formula"].set_index("method")["times_floor"]
    said = (
        f"takes {rows['streamed (RowLoss)']:.1f} times the floor at N = 4,000, by hand "
        f"{rows['streamed (weights by hand)']:.1f} times, and {rows['fused (RowLoss)']:.1f} times"
    )
    assert said in SPEED


def test_counted_steps():
    rows = TABLE[(TABLE["task"] == "counts") & (TABLE["N"] == 4000)].set_index("method")
    counts = rows["operations"].astype(int)
    said = f"`MSLoss` launches {counts[MS]} operations where PML's launches {counts['PML']}, and "
    assert f"{said}{counts[FUSED]} where the step is fused" in SPEED
    waits = rows["waits"].astype(int)
    assert (waits["PML"], waits[MS]) == (5, 0)
    assert f"has {counts[COMPOSED]} operations and {waits[COMPOSED]} waits" in SPEED


def test_small_batches_of_plain_autograd():
    rows = MINED[MINED["N"] == 80].pivot_table("ms", "kind", "method")
    assert (rows["dense autograd"] < rows[MS]).all()
    ours = rows[[MS, FUSED, COMPOSED, "fused (ms_loss)"]].min(axis=1)
    assert (rows["dense autograd, compiled"] < ours).all()


def test_the_memory_of_losses_of_the_field():
    rows = pd.read_csv(RESULTS / "field-losses.csv")
    rows = rows[rows["N"] == 4000]
    assert "needs 75 to 200 MB at N = 4,000, where PML's classes take 0.8 to 4 GB" in SPEED
    assert rows["streamed_mb"].between(74.5, 200).all()
    assert rows["pml_mb"].dropna().between(750, 4300).all()


def test_the_memory_of_large_batches():
    peaks = TABLE.set_index(["task", "kind", "method", "M"])["peak_mb"]
    low, high = (peaks["memory", kind, MS, 55_000] for kind in ("trained-like", "random"))
    assert f"costs a step {low:.0f} (trained-like) to {high:.0f} MB (random embeddings)" in LARGE
    assert peaks["peak", "trained-like", MS, 100_000] < 500, "less than half a gigabyte"
    columns = TABLE[(TABLE["task"] == "peak") & (TABLE["N"] == 32_768)].set_index("method")
    nt_xent, ms = (columns["peak_mb"][name] for name in ("NT-Xent", "Multi-Similarity"))
    assert f"{nt_xent:.0f} MB (NT-Xent) or {ms:.0f} MB (Multi-Similarity)" in PAIRS
