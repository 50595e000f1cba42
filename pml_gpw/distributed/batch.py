"""The arguments of a call, put together from those of all processes.

Shapes: N anchors of all processes, n of them one process's, M references, D dims.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arguments import pair_batch
from ..engine import PairBatch
from ..engine.index_pairs import checked_tuple
from ..modules.cross_batch_memory import Keys
from .exchange import Exchange, kind_of, must_be_alike
from .gathered_rows import GatheredRows


class Arguments(NamedTuple):
    """The arguments of a call, checked."""

    embeddings: Tensor
    labels: Tensor | None
    indices_tuple: Sequence[Tensor] | None
    ref_emb: Tensor | None
    ref_labels: Tensor | None
    enqueue_mask: Tensor | None
    keys: Keys = Keys(None, None)
    wants_pairs: bool = False


class GatheredCall(NamedTuple):
    """The arguments of all processes, and how many anchors each has, by rank.

    The index tuple is that of this process alone, whose anchors it is about; its places are those
    in the batch of all.
    """

    arguments: Arguments
    sizes: tuple[int, ...]
    exchange: Exchange

    def pair_batch(self, relation: Any) -> PairBatch:
        """The batch of all processes, with the pairs of a tuple or all that the labels give.

        ``relation``: of labels, in place of their equality.
        """
        embeddings, labels, indices_tuple, ref_emb, ref_labels, *_ = self.arguments
        batch = pair_batch(embeddings, labels, indices_tuple, ref_emb, ref_labels, pairs=relation)
        return replace(batch, key=self.arguments.keys.loss)

    @property
    def compared(self) -> tuple[int, ...]:
        """The number of anchors of each process, but for those that are put into a memory only."""
        mask = self.arguments.enqueue_mask
        if mask is None:
            return self.sizes
        return tuple(int((~part).sum()) for part in mask.split(self.sizes))


def gathered_call(call: Arguments, exchange: Exchange) -> GatheredCall:
    """The call of all processes from the checked one of this process.

    Errors: ValueError on all processes for calls that do not fit, and for a tuple that is none or
    holds places beyond the batch.
    """
    reports = exchange.tell(_report(call))
    must_be_alike([alike for *_, alike in reports])
    sizes, ref_sizes, gradients, keys, wants_pairs, _ = zip(*reports, strict=True)
    sides = sizes, sizes if call.ref_emb is None else ref_sizes
    device = call.embeddings.device
    local_sides = [exchange.local(each) for each in sides]
    tuple_of_all = _renumbered(call.indices_tuple, sides, local_sides, device)
    sizes_of = dict.fromkeys(("embeddings", "labels", "enqueue_mask"), sizes)
    sizes_of |= dict.fromkeys(("ref_emb", "ref_labels"), ref_sizes)
    local = {
        name: getattr(call, name).to(device) for name in sizes_of if getattr(call, name) is not None
    }
    parts = ((sizes_of[name], rows) for name, rows in local.items())
    gathered = dict(zip(local, exchange.gather(*parts), strict=True))
    for i, name in enumerate(("embeddings", "ref_emb")):
        if name in local:
            rows = local[name]
            if any(each[i] for each in gradients) and not rows.requires_grad:
                rows = rows.detach().requires_grad_()  # it takes part in backward too
            local_rows = exchange.local(sizes_of[name])
            gathered[name] = GatheredRows.apply(rows, gathered[name], exchange, local_rows)
    whole = call._replace(
        indices_tuple=tuple_of_all,
        keys=Keys(*(None if key is None else torch.tensor(key, device=device) for key in keys[0])),
        wants_pairs=any(wants_pairs),
        **gathered,
    )
    return GatheredCall(whole, sizes, exchange)


def _report(call: Arguments) -> tuple[Any, ...]:
    """The facts of a checked call that other processes have to know before anything is sent.

    The numbers of anchors and references, whether they need gradients, the random keys, whether
    somebody looks at pairs, and what must be alike.
    """
    embeddings, ref_emb = call.embeddings, call.ref_emb
    alike = {name: kind_of(values) for name, values in call._asdict().items()}
    del alike["keys"], alike["wants_pairs"]
    gradients = embeddings.requires_grad, ref_emb is not None and ref_emb.requires_grad
    keys = [None if key is None else int(key) for key in call.keys]
    references = 0 if ref_emb is None else len(ref_emb)
    return len(embeddings), references, gradients, keys, call.wants_pairs, alike


def gathered_pairs(
    exchange: Exchange, batch: PairBatch, part: PairBatch, anchors: slice
) -> PairBatch:
    """The batch of all processes with the pairs that each has for its part of the anchors."""
    a1, p, a2, n = part.pairs.index_tuple()
    start, device = anchors.start, batch.anchors.device
    everyone = exchange.tell([index.cpu() for index in (a1 + start, p, a2 + start, n)])
    parts = zip(*everyone, strict=True)
    return batch.with_indices([torch.cat(each).to(device) for each in parts])


def _renumbered(
    indices_tuple: Sequence[Tensor] | None,
    sides: Sequence[Sequence[int]],
    local: Sequence[slice],
    device: torch.device,
) -> Sequence[Tensor] | None:
    """A tuple that counts this process's rows first, with the places of the batch of all."""
    if indices_tuple is None:
        return None
    shape = sum(sides[0]), sum(sides[1])
    (a1, p), (a2, n) = checked_tuple(indices_tuple, shape, device)
    return [_places(index, local[i % 2]) for i, index in enumerate((a1, p, a2, n))]


def _places(index: Tensor, local: slice) -> Tensor:
    """The places of rows that are counted from the ``local`` ones on, then those of the others."""
    num_local = local.stop - local.start
    of_others = torch.where(index < local.stop, index - num_local, index)
    return torch.where(index < num_local, index + local.start, of_others)
