"""The search back ends: the k largest inner products of each query, in float32.

Ties and last digits are those of the library that searches; ``ranks`` makes the results exact.

Shapes: C queries of a block, M references, E dims.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from torch import Tensor

# (C, E), k -> similarities (C, k), largest first, and indices of references (C, k)
Search = Callable[[Tensor, int], tuple[Tensor, Tensor]]

BLOCK_SIZE = 2**25  # similarities held at a time: 128 MiB in float32


def torch_search(reference: Tensor) -> Search:
    """A search by matrix product and top-k in the references (M, E), which are float32."""
    buffer = reference.new_empty(0)

    def search(query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        nonlocal buffer
        if len(buffer) < len(query):  # one buffer for all blocks: fresh memory costs a tenth more
            buffer = reference.new_empty((len(query), len(reference)))
        # Autocast leaves a product with out= in float32.
        similarities = torch.mm(query, reference.T, out=buffer[: len(query)])
        return torch.topk(similarities, k, dim=1)

    return search


def faiss_search(reference: Tensor) -> Search:
    """An exhaustive search on the CPU, FAISS's ``IndexFlatIP`` of references (M, E) in float32."""
    index = import_faiss().IndexFlatIP(reference.shape[1])
    index.add(reference.cpu().numpy())

    def search(query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        similarities, indices = index.search(query.cpu().numpy(), k)
        device = query.device
        return torch.from_numpy(similarities).to(device), torch.from_numpy(indices).to(device)

    return search


def auto_search(reference: Tensor) -> Search:
    """FAISS where it is installed and embeddings are on the CPU of a Linux machine, else torch.

    Measured there (benchmarks/results): FAISS takes 0.9 and 1.0 times the matrix product for K = 32
    and K = 1000, torch 1.2 and 1.6 times. On other systems FAISS and torch may bring two OpenMP
    runtimes into one process, which can crash it.
    """
    on_linux_cpu = reference.device.type == "cpu" and sys.platform == "linux"
    has_faiss = on_linux_cpu and importlib.util.find_spec("faiss") is not None
    return (faiss_search if has_faiss else torch_search)(reference)


BACKENDS = {"auto": auto_search, "torch": torch_search, "faiss": faiss_search}


def import_faiss() -> ModuleType:
    """The faiss module, or an ImportError that says how to install it."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'backend="faiss" needs faiss: pip install "pml-gpw[faiss]", or use backend="torch"'
        ) from error
    return faiss


def row_blocks(rows: int, columns: int, size: int = BLOCK_SIZE) -> Iterator[slice]:
    """Slices of ``rows`` queries with about ``size`` similarities to ``columns`` references."""
    step = max(16, size // columns)
    return (slice(start, start + step) for start in range(0, rows, step))
