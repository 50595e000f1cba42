"""The two libraries that can search: the k largest inner products of each query, in float32.

Their ties and last digits are their own; ``ranks`` makes the results exact.
Shapes: N queries, C queries of a block, M references, E dims.
"""

import importlib.util
import sys
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


def quickest_nearest(reference: Tensor) -> Nearest:
    """FAISS where it is installed and embeddings are on the CPU of a Linux machine, else torch.

    Measured there (benchmarks/results): FAISS takes 0.9 and 1.0 times the matrix product for K = 32
    and K = 1000, torch 1.2 and 1.6 times. Elsewhere FAISS and torch may bring two OpenMP runtimes
    into one process, which ends some.
    """
    on_cpu = reference.device.type == "cpu" and sys.platform == "linux"
    has_faiss = on_cpu and importlib.util.find_spec("faiss") is not None
    return (faiss_nearest if has_faiss else torch_nearest)(reference)


BACKENDS = {"auto": quickest_nearest, "torch": torch_nearest, "faiss": faiss_nearest}


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
