"""Losses, miners and memories as plain torch modules, which need no other package than torch.

They are called as those of pytorch-metric-learning (PML) are:
``loss(embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None)``.
"""

from .column_loss import ColumnLoss
from .contrastive_losses import (
    DecoupledLoss,
    GradedSupConLoss,
    HardNTXentLoss,
    NPairLoss,
    NTXentLoss,
    SigmoidLoss,
    SupConLoss,
)
from .cross_batch_memory import CrossBatchMemory
from .gpw_loss import GPWLoss
from .margin_losses import (
    CircleLoss,
    GradedContrastiveLoss,
    MarginLoss,
    TupletMarginLoss,
)
from .ms_loss import MSLoss, MSWeightedLoss
from .ms_miner import MSMiner
from .pair_miner import PairMiner
from .ranking_losses import (
    FastAPLoss,
    RankedListLoss,
)
from .self_supervised_loss import SelfSupervisedLoss
from .variants import VARIANTS, ms_variant

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
    "MSMiner",
    "MSWeightedLoss",
    "MarginLoss",
    "NPairLoss",
    "NTXentLoss",
    "PairMiner",
    "RankedListLoss",
    "SelfSupervisedLoss",
    "SigmoidLoss",
    "SupConLoss",
    "TupletMarginLoss",
    "ms_variant",
]
