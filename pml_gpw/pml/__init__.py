"""The contract of pytorch-metric-learning (PML) for its losses, miners and reducers.

Arguments, distances, recorded names and state: the only part that knows PML's private contract.
"""

from .arguments import one_of_both, pair_batch, pml_arguments, random_rules_of
from .attributes import CheckedAttribute, ConfigField, ConfigFields
from .checked_parts import CheckedParts
from .similarity import DistanceSimilarity

__all__ = [
    "CheckedAttribute",
    "CheckedParts",
    "ConfigField",
    "ConfigFields",
    "DistanceSimilarity",
    "one_of_both",
    "pair_batch",
    "pml_arguments",
    "random_rules_of",
]
