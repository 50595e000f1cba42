"""Draw the figure of the ablation from the committed tables: ``python docs/ablation_figure.py``."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pml_gpw.analysis.colours import DARK, MIDDLE

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SETS = {"Letters": "glyphs", "Names": "worldnames"}
ROWS = {
    "SN": "S and N",
    "SNP": "S, N and P: Multi-Similarity",
    "N": "N",
    "NP": "N and P",
    "S": "S",
    "P": "P",
    "ntxent": "NT-Xent",
    "contrastive": "contrastive",
    "triplet-semihard": "triplet, semi-hard",
}
KINDS = {"default": ("defaults", MIDDLE, "white", -0.16), "tuned": ("tuned", DARK, DARK, 0.16)}


def main() -> None:
    """Means and intervals of both sets, tuned and with the defaults."""
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, data) in zip(panels, SETS.items(), strict=True):
        folder = RESULTS / f"tuning-{data}-150it-50trials-500it-10seeds"
        summary = pd.read_csv(folder / "summary.csv", keep_default_na=False, na_values="")
        for kind, (label, colour, inside, offset) in KINDS.items():
            table = summary[summary["parameters"] == kind].set_index("row").loc[[*ROWS]]
            axes.errorbar(
                100 * table["map_at_r"],
                [place + offset for place in range(len(ROWS))],
                xerr=100 * table["map_at_r_ci"],
                fmt="o",
                capsize=2,
                color=colour,
                markerfacecolor=inside,
                label=label,
            )
        axes.set_title(name, loc="left")
        axes.set_xlabel("MAP@R, %")
        axes.grid(axis="x", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(ROWS)), [*ROWS.values()])
    panels[0].set_ylim(len(ROWS) - 0.5, -0.5)
    figure.suptitle("MAP@R on classes that were not trained on, mean of 10 seeds, 95 % interval")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(Path(__file__).parent / "_static" / "ablation.png", dpi=160)


if __name__ == "__main__":
    main()
