"""Any PML miner asked about a batch of pairs."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..engine import PairBatch
from .pair_miner import PairMiner


def mines_batches(miner: Any) -> bool:
    """True where a miner takes a batch of pairs, and so a part of one."""
    return isinstance(miner, PairMiner) and miner.mines_batches


def mined_from(miner: Any, batch: PairBatch) -> Sequence[Tensor]:
    """The index tuple, of pairs or triplets, that a miner makes of a batch."""
    if mines_batches(miner):
        return miner(batch)
    if batch.references is batch.anchors:  # as it is called in self-comparison
        return miner(batch.anchors, batch.labels)
    return miner(batch.anchors, batch.labels, batch.references, batch.reference_labels)
