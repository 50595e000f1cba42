"""What every miner and loss does with its inputs first: check them, and compute in float32."""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from . import checks


class Inputs(NamedTuple):
    """Checked arguments of a PML miner or loss, in at least float32, on one device."""

    embeddings: Tensor
    labels: Tensor | None
    ref_emb: Tensor | None
    ref_labels: Tensor | None


def checked_inputs(
    embeddings: Tensor,
    labels: Tensor | None,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
) -> Inputs:
    """The arguments of a PML miner or loss, or a ValueError that names the one at fault.

    Shapes: ``embeddings`` (N, D), ``labels`` (N,), ``ref_emb`` (M, D), ``ref_labels`` (M,).
    bfloat16 and float16 become float32 here and gradients come back in the embeddings' dtype;
    the object that is both anchors and references stays one object.
    """
    checks.embedding_matrix("embeddings", embeddings)
    if labels is not None:
        labels = checks.integer_labels("labels", labels, len(embeddings)).to(embeddings.device)
    wide = at_least_float32(embeddings)
    if ref_emb is None:
        return Inputs(wide, labels, None, None)
    if ref_emb is embeddings:
        wide_ref = wide
    else:
        checks.embedding_matrix("ref_emb", ref_emb)
        if ref_emb.shape[1] != embeddings.shape[1]:
            raise ValueError(
                f"ref_emb must have the {embeddings.shape[1]} dimensions of embeddings, "
                f"got {ref_emb.shape[1]}"
            )
        wide_ref = at_least_float32(ref_emb).to(wide.dtype)
    if ref_labels is not None:
        ref_labels = checks.integer_labels("ref_labels", ref_labels, len(ref_emb))
        ref_labels = ref_labels.to(ref_emb.device)
    return Inputs(wide, labels, wide_ref, ref_labels)


def at_least_float32(embeddings: Tensor) -> Tensor:
    """bfloat16 and float16 embeddings as float32; float32 and float64 as they are."""
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


def full_precision(embeddings: Tensor) -> AbstractContextManager[None]:
    """A context without autocast, so that similarities are not rounded to half precision."""
    return torch.autocast(embeddings.device.type, enabled=False)
