"""A small network for short texts, such as those of ``WorldNames``."""

import zlib

import torch
from torch import Tensor, nn
from typing_extensions import override

from .. import checks
from .feature_extractor import FeatureExtractor, no_feature_map_error
from .weights import PRETRAINED, Weights, load_exactly, read_state_dict, weights_file

BUCKETS, FEATURES, LENGTH = 16_384, 64, 64
EMPTY = 0  # the bucket that stands for no n-gram


def character_ngrams(text: str) -> Tensor:
    """Return the hashed characters and pairs of characters of a text: int64 (64,).

    ``bucket = 1 + crc32(n-gram) % 16383`` for each character and each pair of neighbours of
    ``f" {text} "`` in lower case; 0 fills up, and what exceeds 64 n-grams is left out (from 32
    characters on). Errors: ValueError for what is no str.

    >>> from pml_gpw.backbones import character_ngrams
    >>> character_ngrams("Ob")[:8]
    tensor([ 3972, 14076, 12246,  9701, 12550,     0,     0,     0])
    """
    if not isinstance(text, str):
        raise ValueError(f"text must be a str, got {type(text).__name__}")
    padded = f" {text.casefold()} "
    grams = [*padded[1:-1], *(padded[i : i + 2] for i in range(len(padded) - 1))]
    buckets = [1 + zlib.crc32(gram.encode()) % (BUCKETS - 1) for gram in grams[:LENGTH]]
    return torch.tensor(buckets + [EMPTY] * (LENGTH - len(buckets)))


class NgramIndices(nn.Module):
    """Hashed n-grams (B, L) as they are. Errors: ValueError for another shape or dtype."""

    @override
    def forward(self, ngrams: Tensor) -> Tensor:
        kinds = (torch.int64, torch.int32)
        if not isinstance(ngrams, Tensor) or ngrams.ndim != 2 or ngrams.dtype not in kinds:
            raise ValueError(
                "ngrams must be integers (B, L), got "
                f"{checks.described(ngrams)}: give the data set transform=character_ngrams"
            )
        return ngrams


def feature_extractor(pooling: str, weights: Weights) -> FeatureExtractor:
    """Return the mean of a learned vector for each n-gram: 1,048,576 parameters."""
    if pooling != "own":
        raise no_feature_map_error("ngram_bag", pooling)
    if weights == PRETRAINED:
        raise ValueError("weights must be None or a path for 'ngram_bag', got 'pretrained'")
    bag = nn.EmbeddingBag(BUCKETS, FEATURES, mode="mean", padding_idx=EMPTY)
    with torch.no_grad():
        bag.weight.mul_(0.1)  # small beside the steps of Adam
    network = nn.Sequential(bag)
    if (path := weights_file(weights)) is not None:
        load_exactly(network, read_state_dict(path), str(path))
    return FeatureExtractor(network, FEATURES, NgramIndices())
