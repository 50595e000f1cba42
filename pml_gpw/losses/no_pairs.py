"""Batches without pairs: said once."""

import warnings


class WarnsOfNoPairs:
    """Mixin for losses: one warning per object for batches in which there is nothing to weigh."""

    _warned_of_no_pairs = False

    def warn_of_no_pairs(self, reason: str) -> None:
        """Warn, unless this object already has."""
        if self._warned_of_no_pairs:
            return
        self._warned_of_no_pairs = True
        message = (
            f"{type(self).__name__}: no pairs to weigh ({reason}); the loss and its gradient are "
            "zero. Further such batches of this loss pass silently."
        )
        # Explicit, because warn() would be silent for the second object at the same line.
        warnings.warn_explicit(message, UserWarning, "pml_gpw", 1, module="pml_gpw", registry={})
