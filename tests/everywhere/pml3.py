"""Doubles of PML 3's wrappers, written from the call orders that its documentation describes.

They are not PML 3, which cannot be had here: only what a loss, a miner and a memory of ours meet.
"""

from typing import NamedTuple

import torch


class PairIndices(NamedTuple):
    pos_anchors: torch.Tensor
    positives: torch.Tensor
    neg_anchors: torch.Tensor
    negatives: torch.Tensor


class TripletIndices(NamedTuple):
    anchors: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor


class MultipleLosses(torch.nn.Module):
    """Weighted losses, each with the miner of its place, which gets the tuple as candidates."""

    def __init__(self, losses, miners=None, weights=None):
        super().__init__()
        self.losses = torch.nn.ModuleList(losses)
        self.miners = [None] * len(losses) if miners is None else list(miners)
        self.weights = [1] * len(losses) if weights is None else list(weights)

    def forward(self, embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None):
        total = 0
        for loss, miner, weight in zip(self.losses, self.miners, self.weights, strict=True):
            mined = indices_tuple
            if miner is not None:  # five arguments, in the order of PML 3
                mined = miner(embeddings, labels, indices_tuple, ref_emb, ref_labels)
            total = total + weight * loss(embeddings, labels, mined, ref_emb, ref_labels)
        return total
