"""A right call of Recall@K, and the check that a wrong argument is refused by name."""

import pytest
import torch

from pml_gpw.evaluation import RecallCalculator, recall_at_k

QUERY, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])


def assert_refused(change, message):
    """The function and the calculator raise the same ValueError for a changed argument."""
    arguments = {"query": QUERY, "query_labels": LABELS, "ks": (1,)} | change
    with pytest.raises(ValueError, match=message):
        recall_at_k(**arguments)
    options = {name: arguments.pop(name) for name in {"ks", "backend", "metric"} & arguments.keys()}
    with pytest.raises(ValueError, match=message):
        RecallCalculator(**options).get_accuracy(**arguments)
