"""The arguments of a PML loss or miner as a batch of pairs, and back.

Shapes: N anchors, M references, D dims.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..engine import PairBatch
from ..engine.arguments import ArgumentNames, checked_embeddings, drawn_key, resolved_batch
from ..value_checks import begin_call

NAMES = ArgumentNames("ref_emb", "ref_labels")


def pair_batch(
    embeddings: Tensor | PairBatch,
    labels: Tensor | None = None,
    indices_tuple: Sequence[Tensor] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    self_index: Tensor | None = None,
    rules: Sequence[object] = (),
) -> PairBatch:
    """The batch of a call: the one that stands in place of all arguments, or theirs, checked.

    ``rules``: the minings of the call; where one of them is random, a key is drawn.
    Errors: ValueError that names the argument at fault.

    >>> import torch
    >>> pair_batch(torch.rand(4, 2), torch.tensor([0, 0, 1, 1])).pairs.shape
    (4, 4)
    """
    if isinstance(embeddings, PairBatch):
        begin_call()
        return _with_key(embeddings, rules)
    given = checked_embeddings(embeddings, labels, ref_emb, ref_labels, NAMES)
    key = drawn_key(given.anchors.device, *rules)
    return resolved_batch(given, indices_tuple, self_index, NAMES, key)


def _with_key(batch: PairBatch, rules: Sequence[object]) -> PairBatch:
    if batch.key is not None:
        return batch
    key = drawn_key(batch.anchors.device, *rules)
    return batch if key is None else replace(batch, key=key)


def random_rules_of(module: Any) -> tuple[object, ...]:
    """The minings of a loss or miner, for which a call may draw a random key; none of PML's.

    >>> from pml_gpw import MSLoss
    >>> random_rules_of(MSLoss()), random_rules_of(None)
    ((MSMining(epsilon=0.1),), ())
    """
    rules = getattr(module, "random_rules", None)
    return () if rules is None else rules()


def one_of_both(self_index: Tensor | None, own: Tensor | None) -> Tensor | None:
    """``self_index``, or ``own``, its former name; ValueError where both are given.

    >>> one_of_both(None, None) is None
    True
    """
    if self_index is not None and own is not None:
        raise ValueError("own must be None beside self_index, whose former name it is")
    return own if self_index is None else self_index


def pml_arguments(batch: PairBatch, indices_tuple: Any) -> tuple[Any, ...]:
    """The arguments of PML's losses, (embeddings, labels, indices_tuple, ref_emb, ref_labels).

    >>> import torch
    >>> batch = pair_batch(torch.rand(4, 2), torch.tensor([0, 0, 1, 1]))
    >>> len(pml_arguments(batch, None))
    5
    """
    return batch.anchors, batch.labels, indices_tuple, batch.references, batch.reference_labels
