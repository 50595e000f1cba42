"""Losses: objects of pytorch-metric-learning 2 where it is there, else plain torch modules."""

from typing import TYPE_CHECKING

from .hosts import former_modules, object_of
from .lazy import lazy_names

if TYPE_CHECKING:
    from .hosts.pml2 import PairSimilarityLoss
    from .modules import (
        VARIANTS,
        CircleLoss,
        ColumnLoss,
        CrossBatchMemory,
        DecoupledLoss,
        FastAPLoss,
        GPWLoss,
        GradedContrastiveLoss,
        GradedSupConLoss,
        HardNTXentLoss,
        MarginLoss,
        MSLoss,
        MSWeightedLoss,
        NPairLoss,
        NTXentLoss,
        RankedListLoss,
        SelfSupervisedLoss,
        SigmoidLoss,
        SupConLoss,
        TupletMarginLoss,
        ms_variant,
    )

__all__ = [
    "VARIANTS",
    "CircleLoss",
    "ColumnLoss",
    "CrossBatchMemory",
    "DecoupledLoss",
    "FastAPLoss",
    "GPWLoss",
    "GradedContrastiveLoss",
    "GradedSupConLoss",
    "HardNTXentLoss",
    "MSLoss",
    "MSWeightedLoss",
    "MarginLoss",
    "NPairLoss",
    "NTXentLoss",
    "PairSimilarityLoss",
    "RankedListLoss",
    "SelfSupervisedLoss",
    "SigmoidLoss",
    "SupConLoss",
    "TupletMarginLoss",
    "ms_variant",
]

__getattr__, __dir__ = lazy_names(__name__, __all__, object_of)

former_modules(
    __name__,
    {
        "cross_batch_memory": "cross_batch_memory",
        "gpw_loss": "losses",
        "ms_loss": "losses",
        "pair_similarity_loss": "pair_similarity_loss",
        "self_supervised_loss": "self_supervised_loss",
        "variants": "losses",
    },
)
