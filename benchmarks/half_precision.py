"""How far is a gradient under half-precision autocast from that in float64? Ours and PML's.

python -m benchmarks.half_precision --help
"""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytorch_metric_learning.losses as theirs
import torch
import typer
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor
from tqdm import tqdm

from pml_gpw import losses as ours
from pml_gpw.training.environment import environment

from .data import options
from .data.faults import command, output_folder
from .measure.steps import embeddings
from .report.saving import RESULTS, save
from .speed import PLACES

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
Loss = Callable[[Tensor, Tensor], Tensor]
PLACE = {"alpha": 1, "beta": 50, "base": 0.0}


def _mined() -> Loss:
    miner, loss = MultiSimilarityMiner(0.1), theirs.MultiSimilarityLoss(**PLACE)
    return lambda x, labels: loss(x, labels, miner(x, labels))


LOSSES: Mapping[str, tuple[Callable[[], Loss], Callable[[], Loss]]] = {
    "Multi-Similarity": (_mined, lambda: ours.MSLoss.preset("place_recognition")),
    "SupCon": (theirs.SupConLoss, ours.SupConLoss),
    "Circle": (theirs.CircleLoss, ours.CircleLoss),
}
"""By name: PML's class and ours."""


@command
def main(output: options.Output = RESULTS) -> None:
    """Measure relative errors of gradients at the sizes of live place recognition projects."""
    output_folder(output)
    cases = [(place, name) for place in PLACES for name in LOSSES]
    rows = [_row(*place, name) for place, name in tqdm(cases, unit="row", disable=False)]
    table = pd.DataFrame(rows)
    text = (
        "### Gradients under half-precision autocast\n\n"
        "‖g − g₆₄‖ / ‖g₆₄‖ in percent: g the gradient of the embeddings under autocast, g₆₄ that "
        "of the same loss in float64. Embeddings of rank 48, 4 a class, at the sizes of "
        "GSV-Cities, MixVPR, SALAD and BoQ; Multi-Similarity mined, with their α = 1, β = 50, "
        "λ = 0, ε = 0.1. "
        "On the CPU, where autocast takes matrix products in half precision as on a GPU.\n\n"
        f"{table.to_markdown(index=False, floatfmt='.2g')}\n\n{environment()}\n"
    )
    save(output, {"half-precision.md": text, "half-precision.csv": table.to_csv(index=False)})
    typer.echo(f"\n{text}")


def _row(classes: int, dims: int, name: str) -> dict[str, Any]:
    x, labels = embeddings("rank 48", 4 * classes, dims, per_class=4)
    row: dict[str, Any] = {"loss": name, "N": len(x), "D": dims}
    for dtype_name, dtype in DTYPES.items():
        for who, make in zip(("PML", "ours"), LOSSES[name], strict=True):
            exact = _gradient(make(), x.double(), labels)
            with torch.autocast("cpu", dtype):
                found = _gradient(make(), x, labels).double()
            error = float((found - exact).norm() / exact.norm())
            row[f"{dtype_name}: {who}, %"] = 100 * error
    return row


def _gradient(loss: Loss, x: Tensor, labels: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x, labels), x)
    return gradient


if __name__ == "__main__":
    typer.run(main)
