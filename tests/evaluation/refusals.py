"""A right call of the metrics, and the check that a wrong argument is refused by name."""

import pytest
import torch

from pml_gpw.evaluation import (
    RecallCalculator,
    map_at_r,
    r_precision,
    recall_at_k,
    retrieval_metrics,
)

QUERY, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])


def assert_refused(change, message):
    """The functions and the calculator raise the same ValueError for a changed argument."""
    arguments = {"query": QUERY, "query_labels": LABELS, "ks": (1,)} | change
    for function in (recall_at_k, retrieval_metrics):
        with pytest.raises(ValueError, match=message):
            function(**arguments)
    if "ks" not in change:
        others = {name: value for name, value in arguments.items() if name != "ks"}
        for function in (map_at_r, r_precision):
            with pytest.raises(ValueError, match=message):
                function(**others)
    options = {name: arguments.pop(name) for name in {"ks", "backend", "metric"} & arguments.keys()}
    with pytest.raises(ValueError, match=message):
        RecallCalculator(**options).get_accuracy(**arguments)
