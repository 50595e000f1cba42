"""General Pair Weighting and the Multi-Similarity loss for pytorch-metric-learning (PML).

Names are imported when they are asked for, so that what needs no PML works where it is not
installed: ``pml_gpw.functional``, weightings, minings, the engine, evaluation.
"""

from typing import TYPE_CHECKING

from .lazy import lazy_exports

if TYPE_CHECKING:
    from .losses import GPWLoss, MSLoss, MSWeightedLoss, ms_variant
    from .miners import MSMiner, PairMiner

__all__ = ["GPWLoss", "MSLoss", "MSMiner", "MSWeightedLoss", "PairMiner", "ms_variant"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "GPWLoss": "losses",
        "MSLoss": "losses",
        "MSMiner": "miners",
        "MSWeightedLoss": "losses",
        "PairMiner": "miners",
        "ms_variant": "losses",
    },
)
