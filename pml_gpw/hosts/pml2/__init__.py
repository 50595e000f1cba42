"""The objects of this package as those of pytorch-metric-learning (PML) 2.9.

Each is a subclass of the plain class of the same name in :mod:`pml_gpw.modules` and of PML's base
class, with distances, reducers, regularizers, statistics and recorded names. This folder alone
imports PML.
"""

from ...modules.column_loss import ColumnLoss
from ...modules.variants import VARIANTS
from .. import host, not_there

if host != "pml2":
    raise not_there(__name__)

from .anchor_reducer import AnchorReducer
from .calculator import RecallCalculator
from .cross_batch_memory import CrossBatchMemory
from .losses import GPWLoss, MSLoss, MSWeightedLoss, ms_variant
from .miners import MSMiner, PairMiner
from .named_losses import (
    CircleLoss,
    DecoupledLoss,
    FastAPLoss,
    GradedContrastiveLoss,
    GradedSupConLoss,
    HardNTXentLoss,
    MarginLoss,
    NPairLoss,
    NTXentLoss,
    RankedListLoss,
    SigmoidLoss,
    SupConLoss,
    TupletMarginLoss,
)
from .pair_similarity_loss import PairSimilarityLoss
from .pair_weight_reducer import PairWeightReducer
from .registry import Registration, register
from .self_supervised_loss import SelfSupervisedLoss

__all__ = [
    "VARIANTS",
    "AnchorReducer",
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
    "MSMiner",
    "MSWeightedLoss",
    "MarginLoss",
    "NPairLoss",
    "NTXentLoss",
    "PairMiner",
    "PairSimilarityLoss",
    "PairWeightReducer",
    "RankedListLoss",
    "RecallCalculator",
    "Registration",
    "SelfSupervisedLoss",
    "SigmoidLoss",
    "SupConLoss",
    "TupletMarginLoss",
    "ms_variant",
    "register",
]
