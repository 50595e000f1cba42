"""The directive ``loss-figures``: the measured figures of a loss, from the committed tables."""

import csv
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def _rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(loss: str) -> list[str]:
    """What the tables say of a loss, a sentence each."""
    usage = next(r for r in _rows("similarity-usage.csv") if r["loss"] == f"pml_gpw {loss}")
    negatives, positives = usage["negative pairs"], usage["positive pairs"]
    found = [
        f"Weights of negative pairs depend on {negatives}, those of positive pairs on {positives} "
        "(S: the pair's own similarity, N: those of other negatives, P: those of positives)."
    ]
    for row in _rows("field-losses.csv"):
        if row["class"] == loss and int(row["N"]) >= 480:
            floor = float(row["floor_ms"])
            times = [float(row[f"{key}_ms"]) / floor for key in ("streamed", "fused")]
            memory = [float(row[f"{key}_mb"]) for key in ("streamed", "fused")]
            found.append(
                f"N = {int(row['N']):,}, D = {row['D']}: a step takes {times[0]:.1f} times as long "
                f"as its two matrix products alone, compiled {times[1]:.1f} times, in "
                f"{memory[0]:.0f} and {memory[1]:.0f} MB beyond the inputs; {_of_pml(row, floor)}."
            )
    return found


def _of_pml(row: dict[str, str], floor: float) -> str:
    if row["pml_class"] == "False":
        return "PML 2.9 has no such loss"
    if not row["pml_ms"]:
        return "PML's class needs more than 8 GB"
    return (
        f"PML's class {float(row['pml_ms']) / floor:.1f} times, in {float(row['pml_mb']):,.0f} MB"
    )


class LossFigures(Directive):
    """A list of the figures of the loss that is named."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        items = [
            nodes.list_item("", nodes.paragraph("", line)) for line in lines(self.arguments[0])
        ]
        return [nodes.bullet_list("", *items)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("loss-figures", LossFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
