"""The cheat sheet names what there is, and its formulas agree with the committed tables."""

import re
from pathlib import Path

import pandas as pd
import pytest

import pml_gpw.losses
import pml_gpw.miners
from pml_gpw import mining, weightings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cheat_sheet.md").read_text(encoding="utf-8")
NAMES = PAGE.split("## Names")[1].split("| form")[0]
ON_A_CPU, ON_ACCELERATORS = 2**21, 2**25


def cells():
    for line in NAMES.splitlines():
        if line.startswith("|") and "`" in line:
            yield [re.findall(r"`(\w+)`", cell) for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("row", [*cells()], ids=lambda row: str(row[1][0]))
def test_names_are_there(row):
    theirs, ours, parts = row
    pml = [pytest.importorskip(f"pytorch_metric_learning.{room}") for room in ("losses", "miners")]
    for name in theirs:
        assert any(hasattr(room, name) for room in pml)
    is_miner = all(hasattr(mining, name) for name in parts)
    assert hasattr(pml_gpw.miners if is_miner else pml_gpw.losses, ours[0])
    assert all(hasattr(weightings, name) or hasattr(mining, name) for name in parts)


def test_every_loss_weighting_and_mining_has_a_row():
    named = {name for row in cells() for cell in row[1:] for name in cell}
    losses = {n for n in pml_gpw.losses.__all__ if n.endswith("Loss")}
    elsewhere = {"ColumnLoss", "PairSimilarityLoss", "SelfSupervisedLoss"}
    assert losses - elsewhere <= named
    no_formula = {"Constant", "DenseRows", "PairWeighting", "PairWeights", "Positive", "Range"}
    no_formula |= {"RowLoss", "Rows", "SparseRows", "check_weighting"}
    assert {*weightings.__all__} - no_formula <= named
    assert {*mining.__all__} - {"PairMining", "check_mining"} <= named


def memory(n, total, dims, elements):
    """The bytes of a process, by the formula of the page: for a chunk, and for all embeddings."""
    chunk = min(n, max(64, elements // total))
    return 22 * chunk * total, 28 * total * dims


def test_the_memory_is_that_of_the_committed_table():
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "scaling-4000x128.csv")
    measured = table[table["embeddings"] == "random"].set_index(["method", "processes"])["peak_mb"]
    for processes in (1, 2, 4):
        for method, elements in (("all rows at once", 4000**2), ("streamed", ON_A_CPU)):
            found = measured[f"DistributedLoss, {method}", processes]
            said = sum(memory(4000 // processes, 4000, 128, elements)) / 2**20
            assert said == pytest.approx(found, rel=0.1), (processes, method)
    assert r"22 \, C N + 28 \, N D" in PAGE


def test_what_is_sent_is_what_the_committed_projection_has():
    text = (ROOT / "benchmarks" / "results" / "scaling-4000x128.md").read_text(encoding="utf-8")
    row = r"^\| (\d+) (?:GPUs, one node|nodes of 8 GPUs) +\| ([\d,]+) +\| ([\d,.]+) +\| ([\d,.]+)"
    projection = re.findall(row, text, flags=re.MULTILINE)
    assert len(projection) == 6
    for count, total, gflop, moved in projection:
        processes = {"8": 8, "32": 256}[count]
        n, d = int(total.replace(",", "")), 512
        said = [6 * n / processes * n * d / 1e9, (2 + 8) * n * d / 1e6]
        assert said == pytest.approx([float(x.replace(",", "")) for x in (gflop, moved)], rel=0.02)
    assert "$b N D$ bytes" in PAGE
    assert "$8 N D$ bytes" in PAGE


def test_the_million_is_worked_out_by_the_formulas():
    total, processes, dims = 10**6, 64, 512
    n = total // processes
    of_chunk, of_all = memory(n, total, dims, ON_ACCELERATORS)
    assert f"| {n:,} |" in PAGE
    assert f"| {of_chunk / 1e9:.1f} GB for the chunk, {of_all / 1e9:.1f} GB for all" in PAGE
    sent = f"| {2 * total * dims / 1e9:.1f} GB and {8 * total * dims / 1e9:.1f} GB |"
    assert sent in PAGE
    assert f"| {6 * n * total * dims / 1e12:.0f} TFLOP |" in PAGE
    assert f"| {4 * total**2 / 1e9:,.0f} GB |" in PAGE


def test_what_compiled_rows_save_in_small_batches():
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "speed-cpu.csv")
    steps = table[(table["task"] == "loss") & table["mined"] & table["N"].isin([80, 320])]
    ms = steps.set_index(["kind", "N", "method"])["ms"].unstack()
    saved = 1 - ms["fused (MSLoss)"] / ms["streamed (MSLoss)"]
    assert f"saves up to {round(100 * saved.max(), -1):.0f} %" in PAGE
