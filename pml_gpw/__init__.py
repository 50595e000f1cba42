"""General Pair Weighting and the Multi-Similarity loss for metric learning.

Losses and miners are objects of pytorch-metric-learning (PML) 2 where it can be imported, else
plain torch modules of the same names, calls and values; ``pml_gpw.host`` is "pml2" or "torch".
Names are imported when they are asked for.
"""

from typing import TYPE_CHECKING

from .lazy import lazy_exports

if TYPE_CHECKING:
    from .hosts import host
    from .modules import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, PairMiner, ms_variant

__version__ = "0.3.0"
__all__ = ["GPWLoss", "MSLoss", "MSMiner", "MSWeightedLoss", "PairMiner", "host", "ms_variant"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "GPWLoss": "losses",
        "MSLoss": "losses",
        "MSMiner": "miners",
        "MSWeightedLoss": "losses",
        "PairMiner": "miners",
        "host": "hosts",
        "ms_variant": "losses",
    },
)
