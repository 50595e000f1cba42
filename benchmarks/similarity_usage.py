"""Which similarities does each loss use? Table 1 of the paper, measured.

python -m benchmarks.similarity_usage --help
"""

from typing import Any

import pandas as pd
import typer
from pytorch_metric_learning import distances, losses

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.analysis import SimilarityUsage, similarity_usage
from pml_gpw.training.environment import environment
from pml_gpw.weightings import (
    BinomialDeviance,
    Constant,
    Contrastive,
    LiftedStructure,
    MultiSimilarity,
    Triplet,
)

from .data import options
from .data.faults import command, output_folder
from .data.plan import checked_losses
from .measure.field_losses import ARGUMENTS, LOSSES
from .report.saving import RESULTS, save

DIMS, CLASSES = 2, 4  # of the probe, for losses that want to know


HEADING = """### Which similarities the pair weights depend on

S: the weight changes when all similarities of the anchor shift together; N: when only its (other)
negatives move; P: when only its (other) positives move. The paper's Table 1 speaks of negative
pairs."""
FOOT = """Where it differs from the paper: N-pairs takes a softmax over the positive and the
negatives, so a negative's weight does depend on the positive (P). Histogram loss reads
similarities on fixed bins, an absolute scale (S). PML's lifted structure loss squares its hinge,
which makes weights depend on the positive (P), and puts the negatives of the positive's own row
beside those of the anchor, which do not shift with it (S); eq 6 of the paper as it stands
(`LiftedStructure`, and PML's generalised form) uses N alone. A distance D is read as S = -D, the
Euclidean one too, which is the default of contrastive and triplet losses in PML. Losses that
compare with the anchor's similarity to itself, which does not shift (SmoothAP, PNP, InstanceLoss),
show S for that reason."""


def _cosine() -> dict[str, Any]:
    return {"distance": distances.CosineSimilarity()}


def methods() -> list[tuple[str, Any, str]]:
    """Name, loss, and what Table 1 of the paper says of it ("" where it says nothing)."""
    return [
        ("ContrastiveLoss, cosine", losses.ContrastiveLoss(1, 0.1, **_cosine()), "S"),
        ("ContrastiveLoss (default: L2)", losses.ContrastiveLoss(), ""),
        ("TripletMarginLoss, cosine", losses.TripletMarginLoss(**_cosine()), "P"),
        ("TripletMarginLoss (default: L2)", losses.TripletMarginLoss(), ""),
        ("NPairsLoss, cosine", losses.NPairsLoss(**_cosine()), "N"),
        ("NCALoss", losses.NCALoss(), "NP"),
        ("HistogramLoss", losses.HistogramLoss(), "P"),
        ("LiftedStructureLoss, cosine", losses.LiftedStructureLoss(1, 0, **_cosine()), "N"),
        (
            "GeneralizedLiftedStructureLoss, cosine",
            losses.GeneralizedLiftedStructureLoss(**_cosine()),
            "",
        ),
        ("MultiSimilarityLoss, no miner", losses.MultiSimilarityLoss(), ""),
        ("NTXentLoss", losses.NTXentLoss(), ""),
        ("SupConLoss", losses.SupConLoss(), ""),
        ("CircleLoss", losses.CircleLoss(), ""),
        ("MarginLoss, cosine", losses.MarginLoss(beta=0.2, **_cosine()), ""),
        ("TupletMarginLoss", losses.TupletMarginLoss(), ""),
        ("IntraPairVarianceLoss", losses.IntraPairVarianceLoss(), ""),
        ("RankedListLoss", losses.RankedListLoss(0.4, 5.0), ""),
        ("FastAPLoss", losses.FastAPLoss(), ""),
        ("SmoothAPLoss", losses.SmoothAPLoss(), ""),
        ("PNPLoss", losses.PNPLoss(), ""),
        ("DynamicSoftMarginLoss", losses.DynamicSoftMarginLoss(), ""),
        ("ThresholdConsistentMarginLoss", losses.ThresholdConsistentMarginLoss(), ""),
        ("InstanceLoss", losses.InstanceLoss(), ""),
        (
            "SignalToNoiseRatioContrastiveLoss",
            losses.SignalToNoiseRatioContrastiveLoss(),
            "",
        ),
        ("AngularLoss", losses.AngularLoss(), ""),
        ("VICRegLoss", losses.VICRegLoss(), ""),
        ("ManifoldLoss", losses.ManifoldLoss(DIMS), ""),
        ("ProxyAnchorLoss", losses.ProxyAnchorLoss(CLASSES, DIMS), ""),
        ("ProxyNCALoss", losses.ProxyNCALoss(CLASSES, DIMS), ""),
        ("SoftTripleLoss", losses.SoftTripleLoss(CLASSES, DIMS), ""),
        ("NormalizedSoftmaxLoss", losses.NormalizedSoftmaxLoss(CLASSES, DIMS), ""),
        ("LargeMarginSoftmaxLoss", losses.LargeMarginSoftmaxLoss(CLASSES, DIMS), ""),
        ("SphereFaceLoss", losses.SphereFaceLoss(CLASSES, DIMS), ""),
        ("ArcFaceLoss", losses.ArcFaceLoss(CLASSES, DIMS), ""),
        (
            "SubCenterArcFaceLoss",
            losses.SubCenterArcFaceLoss(num_classes=CLASSES, embedding_size=DIMS),
            "",
        ),
        ("CosFaceLoss", losses.CosFaceLoss(CLASSES, DIMS), ""),
        ("P2SGradLoss", losses.P2SGradLoss(DIMS, CLASSES), ""),
        ("GPWLoss(Constant)", GPWLoss(Constant()), ""),
        ("GPWLoss(Contrastive), eq 4", GPWLoss(Contrastive()), "S"),
        ("GPWLoss(Triplet), eq 5", GPWLoss(Triplet()), "P"),
        ("GPWLoss(LiftedStructure), eq 6", GPWLoss(LiftedStructure()), "N"),
        ("GPWLoss(BinomialDeviance), eq 9", GPWLoss(BinomialDeviance()), "S"),
        ("GPWLoss(MultiSimilarity), eq 15", GPWLoss(MultiSimilarity()), ""),
        ("MSLoss: mined, eq 11-15", MSLoss(), "SNP"),
        *(
            (f"pml_gpw {made.__name__}", made(**ARGUMENTS.get(name, {})), "")
            for name, made in LOSSES.items()
        ),
    ]


@command
def main(
    output: options.Output = RESULTS,
    losses: options.Losses = "all",
) -> None:
    """Measure which similarities (S, N, P) each loss uses, beside Table 1 of the paper.

    With `--losses` just these, without their miners.
    """
    output_folder(output)
    chosen, name = methods(), "similarity-usage"
    if losses != "all":
        rows_of = checked_losses(losses).values()
        chosen, name = [(row.name, row.make()[1], "") for row in rows_of], f"{name}-losses"
    rows = pd.DataFrame([_row(*method) for method in chosen])
    text = f"{HEADING}\n\n{rows.to_markdown(index=False, disable_numparse=True)}\n\n{FOOT}\n\n"
    text += f"{environment()}\n"
    save(output, {f"{name}.md": text, f"{name}.csv": rows.to_csv(index=False)})
    typer.echo(f"\n{text}")


def _row(name: str, loss: Any, paper: str) -> dict[str, str]:
    try:
        usage = similarity_usage(loss)
    except ValueError as error:
        negatives, positives, note = "", "", f"refused: {error}"
    else:
        negatives, positives = _letters(usage)
        same = negatives.replace(" ", "") == paper
        note = "" if same or not paper else "differs from the paper"
    return {
        "loss": name,
        "negative pairs": negatives,
        "positive pairs": positives,
        "paper, Table 1": " ".join(paper),
        "note": note,
    }


def _letters(usage: SimilarityUsage) -> tuple[str, str]:
    negatives, positives = (" ".join(part) for part in str(usage).split(" / "))
    return negatives, positives


if __name__ == "__main__":
    typer.run(main)
