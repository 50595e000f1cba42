"""Pictures of pair weights. Each takes a matplotlib ``Axes`` or makes one, and returns it.

They need matplotlib: ``pip install "pml-gpw[plots]"``. Lines differ by dashes and markers as well
as by colour, so that they read in grey.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import checks
from ..optional import import_optional
from ..pair_weight_table import PairWeightTable
from .colours import DARK, FIELD, LIGHT, LINES
from .pair_weights import pair_weights
from .usage import weights_by_similarities

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 24
STYLES = 24  # kinds of lines that differ


def plot_weight_against_similarity(
    losses: Mapping[str, Any],
    embeddings: Tensor,
    labels: Tensor,
    relation: str = "negative",
    ax: "Axes | None" = None,
) -> "Axes":
    """Mean weight of pairs against their similarity, for several losses on the same batch.

    Each loss is scaled to a highest mean of 1. ``losses``: name → loss, or name → (loss, miner).
    ``relation``: "negative" or "positive".
    Errors: ValueError for another relation, for more than 24 losses, whose lines would not differ,
    and as :func:`pml_gpw.analysis.pair_weights`.
    """
    checks.one_of("relation", relation, ("negative", "positive"))
    if not isinstance(losses, Mapping):
        raise ValueError(
            f"losses must be a mapping of names to losses, got {type(losses).__name__}"
        )
    _check_lines("losses", losses)
    ax = _axes(ax)
    for style, (name, given) in zip(_styles(), losses.items(), strict=False):
        loss, miner = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        table = pair_weights(loss, embeddings, labels, miner)
        mask = table.negatives if relation == "negative" else table.positives
        if not mask.any():
            continue
        centres, means = _binned(table.similarity[mask], table.weights[mask])
        ax.plot(centres, means / means.max().clamp(min=1e-30), label=name, **style)
    ax.set(
        xlabel=f"similarity $S_{{ij}}$ of a {relation} pair",
        ylabel="mean weight $w_{ij}$ (highest = 1)",
    )
    ax.legend(frameon=False)
    return _tidy(ax)


def plot_weight_field(loss: Any, ax: "Axes | None" = None, base: float = 0.5) -> "Axes":
    """The weight of one negative pair as similarities move: the three cases of the paper's Fig. 2.

    An anchor has three positives and four negatives around the similarity ``base``. The x axis is
    the amount by which similarities move: all of the row (S), the other negatives (N), or the
    positives (P). A level line belongs to a similarity that the loss does not use.
    Errors: ValueError for a ``base`` that is no finite number, and as
    :func:`pml_gpw.analysis.pair_weights`.
    """
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    weights_of = weights_by_similarities(loss, labels)
    checks.finite("base", base)
    ax = _axes(ax)
    sim = torch.full((8, 8), base, dtype=torch.float64).fill_diagonal_(1)
    sim[0] = base + torch.tensor([1 - base, 0.15, 0.05, -0.05, 0.1, 0.0, -0.1, -0.2])
    positives, others = labels == 0, labels == 1
    positives[0], others[4] = False, False
    shifts = torch.linspace(-0.4, 0.4, 81, dtype=torch.float64)
    cases = {
        "all of the row (S)": labels >= 0,
        "the other negatives (N)": others,
        "the positives (P)": positives,
    }
    for style, (name, moved) in zip(_styles(markers=False), cases.items(), strict=False):
        weights = []
        for shift in shifts:
            row = sim.clone()
            row[0, moved] += shift
            row[0, 0] = 1
            weights.append(float(weights_of(row)[0, 4]))
        ax.plot(shifts, weights, label=name, **style)
    ax.set(xlabel="shift of similarity", ylabel="weight of one negative pair")
    named = loss.weighting if type(loss).__name__ == "GPWLoss" else loss
    ax.set_title(type(named).__name__, loc="left", fontsize="medium")
    ax.legend(title="moved", frameon=False)
    return _tidy(ax)


def plot_batch(table: PairWeightTable, what: str = "weight", ax: "Axes | None" = None) -> "Axes":
    """A batch as a heat map of "weight" or "similarity", sorted by class.

    Errors: ValueError for anything else to show.
    """
    checks.instance("table", table, PairWeightTable)
    shown = {"weight": table.weights, "similarity": table.similarity}
    checks.one_of("what", what, shown)
    ax = _axes(ax)
    rows, columns = _by_class(table.labels), _by_class(table.ref_labels)
    image = ax.imshow(
        shown[what][rows][:, columns].cpu().numpy(), cmap=FIELD, interpolation="nearest"
    )
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label=what)
    ax.set(xlabel="other, by class", ylabel="anchor, by class")
    return ax


def _by_class(labels: Tensor | None) -> Tensor | slice:
    """The order of rows by class, or that which they have."""
    return slice(None) if labels is None else labels.argsort(stable=True)


def plot_histogram(
    table: PairWeightTable, weighted: bool = True, ax: "Axes | None" = None
) -> "Axes":
    """Similarities of positive and negative pairs; ``weighted``: by how much the loss cares.

    Errors: ValueError for a table without similarities.
    """
    checks.instance("table", table, PairWeightTable)
    if not table.similarity.numel():
        raise ValueError(
            f"table must hold similarities, got the shape {tuple(table.similarity.shape)}"
        )
    ax = _axes(ax)
    edges = torch.linspace(
        float(table.similarity.min()), float(table.similarity.max()) + 1e-6, BINS + 1
    )
    sides = {"positive": (table.positives, LIGHT), "negative": (table.negatives, DARK)}
    for name, (mask, colour) in sides.items():
        weights = table.weights[mask] if weighted else torch.ones_like(table.weights[mask])
        total = float(weights.sum())
        ax.hist(
            table.similarity[mask].cpu().numpy(),
            bins=edges.tolist(),
            weights=(weights / total if total > 0 else weights).cpu().numpy(),
            color=colour,
            alpha=0.7,
            label=name,
        )
    ax.set(
        xlabel="similarity $S_{ij}$",
        ylabel="share of the weight" if weighted else "share of the pairs",
    )
    ax.legend(frameon=False)
    return _tidy(ax)


def plot_training(
    history: Sequence[Mapping[str, float]],
    figures: Sequence[str] = ("effective_share", "hardest_1", "zero_share", "positive_share"),
    ax: "Axes | None" = None,
) -> "Axes":
    """Figures of the summary over training, from ``PairWeightRecorder.history``.

    Errors: ValueError for figures that are not in every record, and for more than 24.
    """
    for name, value in (("history", history), ("figures", figures)):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{name} must be a list or tuple, got {value!r}")
    for record in history:
        checks.instance("a record of history", record, Mapping)
    _check_lines("figures", figures)
    for figure in ("iteration", *figures):
        if any(figure not in record for record in history):
            raise ValueError(f"figures must be in every record of history, got {figure!r}")
    ax = _axes(ax)
    iterations = [record["iteration"] for record in history]
    for style, figure in zip(_styles(), figures, strict=False):
        ax.plot(iterations, [record[figure] for record in history], label=figure, **style)
    ax.set(xlabel="iteration", ylabel="share")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _tidy(ax)


def _binned(similarity: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the bins that have pairs, and the mean weight in each."""
    similarity, weights = similarity.cpu().double(), weights.cpu().double()
    low, high = similarity.min(), similarity.max()
    index = ((similarity - low) / (high - low + 1e-12) * BINS).long().clamp(max=BINS - 1)
    counts = torch.bincount(index, minlength=BINS)
    sums = torch.bincount(index, weights, minlength=BINS)
    centres = low + (torch.arange(BINS) + 0.5) * (high - low) / BINS
    return centres[counts > 0], sums[counts > 0] / counts[counts > 0]


def _check_lines(name: str, lines: Collection[Any]) -> None:
    if len(lines) > STYLES:
        raise ValueError(
            f"{name} must be at most {STYLES}, for that many kinds of lines, got {len(lines)}"
        )


def _axes(ax: "Axes | None") -> "Axes":
    if ax is not None:
        checks.instance("ax", ax, import_optional("matplotlib.axes", "plots").Axes)
        return ax
    plt = import_optional("matplotlib.pyplot", "plots")
    return plt.subplots(figsize=(5.5, 3.6), layout="constrained")[1]


def _tidy(ax: "Axes") -> "Axes":
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    return ax


def _styles(markers: bool = True) -> Iterator[dict[str, Any]]:
    dashes, points = ("-", "--", ":", "-."), "os^Dv<>P"
    for i in range(STYLES):
        colour, dash = LINES[i % len(LINES)], dashes[(i + i // len(LINES)) % 4]
        style = {"color": colour, "linestyle": dash, "linewidth": 1.6}
        yield {**style, "marker": points[i % 8], "markersize": 4} if markers else style
