"""The two libraries that can search: the k largest inner products of each query, in float32.

Their ties and last digits are their own; ``ranks`` makes the results exact.
Shapes: N queries, C queries of a block, M references, E dims.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Nearest = Callable[
    [Tensor, int], tuple[Tensor, Tensor]
]  # (C, E), k -> similarities, indices (C, k)

BLOCK = 2**25  # similarities held at a time: 128 MiB in float32


def torch_nearest(reference: Tensor) -> Nearest:
    """Matrix product and top-k. Rows of ``reference`` (M, E) are float32."""
    buffer = reference.new_empty(0)

    def nearest(query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        nonlocal buffer
        if len(buffer) < len(query):  # one buffer for all blocks: fresh memory costs a tenth more
            buffer = reference.new_empty((len(query), len(reference)))
        # A product with out= is one that autocast leaves in float32.
        similarities = torch.mm(query, reference.T, out=buffer[: len(query)])
        return torch.topk(similarities, k, dim=1)

    return nearest


def faiss_nearest(reference: Tensor) -> Nearest:
    """FAISS's exhaustive ``IndexFlatIP``, on the CPU. Rows of ``reference`` (M, E) are float32."""
    index = import_faiss().IndexFlatIP(reference.shape[1])
    index.add(reference.cpu().numpy())

    def nearest(query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        similarities, indices = index.search(query.cpu().numpy(), k)
        device = query.device
        return torch.from_numpy(similarities).to(device), torch.from_numpy(indices).to(device)

    return nearest


BACKENDS = {"auto": torch_nearest, "torch": torch_nearest, "faiss": faiss_nearest}


def import_faiss():  # type: ignore[no-untyped-def]
    """The faiss module, or an ImportError that says how to get it."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'backend="faiss" needs faiss: pip install "pml-gpw[faiss]", or use backend="torch"'
        ) from error
    return faiss


def blocks(rows: int, columns: int, size: int = BLOCK) -> Iterator[slice]:
    """Slices of ``rows`` whose similarities with ``columns`` references are about ``size``."""
    step = max(16, size // columns)
    return (slice(start, start + step) for start in range(0, rows, step))
