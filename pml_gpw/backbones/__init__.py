"""Backbones: networks without their classifier that normalize their input themselves."""

from .bn_inception import load_bn_inception
from .build import backbone
from .freeze import freeze_batch_norm
from .head import embedding_head
from .ngram_bag import character_ngrams
from .normalization import InputConvention
from .trunk import Backbone

__all__ = [
    "Backbone",
    "InputConvention",
    "backbone",
    "character_ngrams",
    "embedding_head",
    "freeze_batch_norm",
    "load_bn_inception",
]
