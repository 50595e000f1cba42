"""What pytorch-metric-learning (PML) asks of its losses, miners and reducers.

Arguments, distances, recorded names and state: the only room that knows PML's private contract.
"""

from .arguments import pair_batch, pml_arguments
from .checked_attribute import CheckedAttribute
from .config_fields import ConfigField, ConfigFields
from .similarity import DistanceSimilarity

__all__ = [
    "CheckedAttribute",
    "ConfigField",
    "ConfigFields",
    "DistanceSimilarity",
    "pair_batch",
    "pml_arguments",
]
