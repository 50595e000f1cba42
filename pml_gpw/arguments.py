"""The arguments of a call, checked once and resolved into a batch of pairs.

Shapes: N anchors, M references, D dims.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import checks
from .engine import IndexPairs, LabelPairs, PairBatch
from .engine.pairs import Pairs
from .precision import at_least_float32
from .related_pairs import related_batch
from .value_checks import begin_call


class ArgumentNames(NamedTuple):
    """The names of the arguments that errors name, which differ between callers."""

    references: str
    reference_labels: str


NAMES = ArgumentNames("ref_emb", "ref_labels")
"""Of losses and miners, which are called as those of pytorch-metric-learning."""


class Embeddings(NamedTuple):
    """The checked tensors of a call; ``references`` is ``anchors`` in self-comparison."""

    anchors: Tensor
    references: Tensor
    labels: Tensor | None
    reference_labels: Tensor | None


def pair_batch(
    embeddings: Tensor | PairBatch,
    labels: Tensor | None = None,
    indices_tuple: Sequence[Tensor] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    self_index: Tensor | None = None,
    rules: Sequence[object] = (),
    pairs: Any = None,
    names: ArgumentNames = NAMES,
) -> PairBatch:
    """The batch of a call: the one that stands in place of all arguments, or theirs, checked.

    ``rules``: the minings of the call; where one of them is random, a key is drawn.
    ``pairs``: a relation of labels of any shape, several of them, or matrices, in place of equal
    labels; an index tuple says by itself which pairs there are.
    Errors: ValueError that names the argument at fault.

    >>> import torch
    >>> pair_batch(torch.rand(4, 2), torch.tensor([0, 0, 1, 1])).pairs.shape
    (4, 4)
    """
    if isinstance(embeddings, PairBatch):
        begin_call()
        if embeddings.key is not None:
            return embeddings
        key = drawn_key(embeddings.anchors.device, *rules)
        return embeddings if key is None else replace(embeddings, key=key)
    if pairs is None or indices_tuple is not None:
        of_labels = (labels, ref_emb, ref_labels) if pairs is None else (None, ref_emb, None)
        given = checked_embeddings(embeddings, *of_labels, names)
        key = drawn_key(given.anchors.device, *rules)
        return resolved_batch(given, indices_tuple, self_index, names, key)
    anchors, others, *_ = checked_embeddings(embeddings, None, ref_emb, None, names)
    if self_index is None:
        self_index = find_self_index(anchors, others)
    else:
        self_index = checked_self_index(self_index, len(anchors), others)
    key, name = drawn_key(anchors.device, *rules), names.reference_labels
    return related_batch(anchors, others, labels, ref_labels, pairs, self_index, key, name)


def checked_embeddings(
    embeddings: Tensor,
    labels: Tensor | None,
    references: Tensor | None,
    reference_labels: Tensor | None,
    names: ArgumentNames,
) -> Embeddings:
    """Embeddings in at least float32 and labels in int64, on one device, or a ValueError.

    Shapes: ``embeddings`` (N, D), ``labels`` (N,), ``references`` (M, D), ``reference_labels``
    (M,). References without labels carry those of the anchors, in order; labels of references that
    are not given are ignored. The object that is both anchors and references stays one object.
    """
    begin_call()
    checks.embedding_matrix("embeddings", embeddings)
    device = embeddings.device
    if labels is not None:
        labels = checks.integer_labels("labels", labels, len(embeddings), device)
    anchors = at_least_float32(embeddings)
    if references is None:
        return Embeddings(anchors, anchors, labels, labels)
    if references is embeddings:
        others = anchors
    else:
        checks.embedding_matrix(names.references, references)
        if references.shape[1] != embeddings.shape[1]:
            raise ValueError(
                f"{names.references} must have the {embeddings.shape[1]} dimensions of embeddings, "
                f"got {references.shape[1]}"
            )
        others = at_least_float32(references).to(anchors.dtype)
        if anchors.dtype != references.dtype:  # float64 may not fit into float32
            checks.embedding_matrix(names.references, others)
    if reference_labels is not None:
        of_references = names.reference_labels, reference_labels, len(references)
        reference_labels = checks.integer_labels(*of_references, device)
    elif labels is not None and len(references) == len(labels):
        reference_labels = labels
    return Embeddings(anchors, others, labels, reference_labels)


def resolved_batch(
    embeddings: Embeddings,
    indices_tuple: Sequence[Tensor] | None,
    self_index: Tensor | None,
    names: ArgumentNames,
    key: Tensor | None = None,
) -> PairBatch:
    """The batch with the pairs of an index tuple, or all those that the labels give.

    Errors: ValueError without labels and tuple, for references that lack labels, for a tuple that
    ``IndexPairs`` refuses and for a ``self_index`` that is none or comes beside a tuple.
    """
    pairs: Pairs
    if indices_tuple is not None:
        if self_index is not None:
            raise ValueError("self_index must be None where an indices_tuple names the pairs")
        shape = len(embeddings.anchors), len(embeddings.references)
        pairs = IndexPairs.of(indices_tuple, shape, embeddings.anchors.device)
    else:
        pairs = _label_pairs(embeddings, self_index, names)
    anchors, references, labels, reference_labels = embeddings
    return PairBatch(anchors, references, pairs, labels, reference_labels, key)


def _label_pairs(
    embeddings: Embeddings, self_index: Tensor | None, names: ArgumentNames
) -> LabelPairs:
    anchors, references, labels, reference_labels = embeddings
    if labels is None:
        raise ValueError("labels or indices_tuple must be given, got neither")
    if reference_labels is None:
        raise ValueError(
            f"{names.reference_labels} must be given for {len(references)} references and "
            f"{len(labels)} labels, got None"
        )
    if self_index is not None:
        self_index = checked_self_index(self_index, len(anchors), references)
        return LabelPairs(labels, reference_labels, self_index, self_index_is_given=True)
    symmetric = references is anchors and reference_labels is labels
    self_index = find_self_index(anchors, references)
    return LabelPairs(labels, reference_labels, self_index, symmetric=symmetric)


def find_self_index(anchors: Tensor, references: Tensor) -> Tensor | None:
    """The column (N,) of each anchor itself among the references, −1 for none; None: nowhere.

    References are the anchors themselves where they are the same object, or have equal values:
    a clone (or ``detach()``) has the same self pairs as the original. Where row i of two equal
    views is meant as a positive, say so with an index tuple or a ``self_index`` of −1.
    """
    if references.shape != anchors.shape:
        return None
    column = torch.arange(len(anchors), device=anchors.device)
    if references is anchors:
        return column
    # A tensor and not a branch: nothing waits for the comparison, and a graph can hold it.
    return torch.where((references == anchors).all(), column, -1)


def checked_self_index(self_index: Tensor, num_anchors: int, references: Tensor) -> Tensor:
    """``self_index`` (N,) as int64; ValueError for other shapes and for places out of range."""
    checks.indices("self_index", self_index, num_anchors)
    self_index = self_index.to(references.device).long()
    if not torch.compiler.is_compiling() and self_index.numel():
        checks.refuse_unless_in_range("self_index", self_index, -1, len(references))
    return self_index


def drawn_key(device: torch.device, *rules: object) -> Tensor | None:
    """A random key () for one call, from torch's generator; None where no rule is random."""
    if not any(getattr(rule, "is_random", False) for rule in rules):
        return None
    return torch.randint(2**62, (), device=device)


def random_rules_of(module: Any) -> tuple[object, ...]:
    """The minings of a loss or miner, for which a call may draw a random key; none of others'.

    >>> from pml_gpw.modules import MSLoss
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
