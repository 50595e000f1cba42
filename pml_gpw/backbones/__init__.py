"""Backbones: pretrained networks as trunks of an embedding, input convention included."""

from .bn_inception import load_bn_inception
from .build import backbone
from .convention import InputConvention
from .freeze import freeze_batch_norm
from .head import embedding_head
from .trunk import Backbone

__all__ = [
    "Backbone",
    "InputConvention",
    "backbone",
    "embedding_head",
    "freeze_batch_norm",
    "load_bn_inception",
]
