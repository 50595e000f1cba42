"""The figure at the head of the README, drawn from what the README's own lines train.

python docs/hero.py [FILE]     writes docs/_static/hero.png, in some ten seconds
"""

import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from pml_gpw import MSMiner, MSWeightedLoss
from pml_gpw.analysis import PairWeightTable, pair_weights
from pml_gpw.analysis.colours import DARK, FIELD, MIDDLE
from pml_gpw.evaluation import recall_at_k
from pml_gpw.training.environment import versions

HERE = Path(__file__).parent
CLASSES, PER_CLASS = 8, 5  # of the batch that is shown
QUERIES, NEAREST = 3, 6  # of the retrieval that is shown
BOTH = LinearSegmentedColormap.from_list("push and pull", [DARK, "white", MIDDLE])
SAME, OTHER = Patch(color=DARK, label="same letter"), Patch(color=MIDDLE, label="another letter")


def readme_lines() -> tuple[str, str]:
    """The code of the README before its training, and from there on."""
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    before, loop, after = code.partition("for images")
    return before, loop + after


def embeddings_of(names: dict[str, Any]) -> Tensor:
    """The test images as the model of the README has them now."""
    model, images = names["model"], names["test"].images[:, None] / 255
    model.eval()
    with torch.no_grad():
        found = torch.nn.functional.normalize(model(images))
    model.train()
    return found


def draw(images: Tensor, labels: Tensor, before: Tensor, after: Tensor, steps: int) -> Figure:
    """The figure of test images, their labels, and their embeddings before and after training."""
    random = torch.Generator().manual_seed(0)
    shown = labels.unique()[torch.randperm(len(labels.unique()), generator=random)[:CLASSES]]
    batch = torch.cat([(labels == label).nonzero()[:PER_CLASS, 0] for label in shown])
    miner = MSMiner(epsilon=0.1)
    table = pair_weights(MSWeightedLoss(), after[batch], labels[batch], miner)
    queries = torch.randperm(len(labels), generator=random)[:QUERIES]

    figure = Figure(figsize=(9, 6), layout="constrained", facecolor="white")
    above, below = figure.subfigures(2, 1, height_ratios=(1.6, 1), hspace=0.04)
    letters, *matrices = above.subplots(1, 4, width_ratios=(1 / CLASSES, 1, 1, 1))
    letters.imshow(torch.cat([*images[batch[::PER_CLASS]]]).numpy(), cmap="gray_r")
    _matrices(matrices, table)
    for axes in (letters, *matrices):
        axes.set(xticks=[], yticks=[])
    above.legend(handles=[SAME, OTHER], loc="outside lower center", ncols=2, frameon=False)
    sides = {"4  Found before training": before, f"… and after {steps} steps": after}
    for axes, (title, found) in zip(below.subplots(1, 2), sides.items(), strict=True):
        recall = 100 * recall_at_k(found, labels, ks=(1,))[1]
        axes.set_title(f"{title}: Recall@1 {recall:.0f} %", loc="left", fontsize=11)
        _nearest(axes, images, labels, found, queries)
    return figure


def _matrices(panels: list[Any], table: PairWeightTable) -> None:
    """The similarities of the batch, the pairs that mining keeps, and their weights."""
    sign = table.negatives.float() - table.positives.float()
    weights = table.weights / table.weights.max()
    contents = (
        ("1  A batch of 8 letters", "5 fonts each, dark: similar", table.similarity, FIELD, None),
        ("2  Mining keeps few pairs", "blank: left out", sign * table.mined, BOTH, (-1, 1)),
        ("3  The loss weighs them", "dark: heavy (root)", sign * weights.sqrt(), BOTH, (-1, 1)),
    )
    for axes, (title, key, matrix, colours, limits) in zip(panels, contents, strict=True):
        axes.imshow(matrix.numpy(), cmap=colours, clim=limits, interpolation="nearest")
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel(key, loc="left")


def _nearest(axes: Any, images: Tensor, labels: Tensor, found: Tensor, queries: Tensor) -> None:
    """A row for each query: the query, and its nearest neighbours in frames."""
    axes.set(xlim=(-0.1, NEAREST + 1.4), ylim=(QUERIES + 0.05, -0.05), aspect="equal")
    axes.axis("off")
    similarity = found[queries] @ found.T
    similarity.scatter_(1, queries[:, None], -torch.inf)
    for row, nearest in enumerate(similarity.topk(NEAREST).indices):
        for place, index in enumerate((queries[row], *nearest)):
            left, top = place + 0.3 * (place > 0), row
            box = (left + 0.08, left + 0.92, top + 0.92, top + 0.08)
            axes.imshow(images[index].numpy(), cmap="gray_r", extent=box)
            if place > 0:
                hit = labels[index] == labels[queries[row]]
                colour, style = (DARK, "-") if hit else (MIDDLE, ":")
                frame = Rectangle((left + 0.05, top + 0.05), 0.9, 0.9, fill=False, linewidth=2)
                frame.set(edgecolor=colour, linestyle=style)
                axes.add_patch(frame)


def main(path: Path = HERE / "_static" / "hero.png") -> None:
    """Run the README's lines, and draw."""
    first, rest = readme_lines()
    names: dict[str, Any] = {}
    exec(first, names)
    before = embeddings_of(names)
    exec(rest, names)
    test, steps = names["test"], len(names["batches"])
    figure = draw(test.images, test.labels, before, embeddings_of(names), steps)
    figure.savefig(
        path,
        dpi=160,
        bbox_inches="tight",
        pad_inches=0.15,
        metadata={"Software": versions("matplotlib")},
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
