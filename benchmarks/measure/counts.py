"""What a step asks of a device, counted: operations, waits of the host, bytes read and written.

Counted without a GPU, so these are no times. Eager operations are seen by a dispatch mode, which
switches ``torch.compile`` off; of compiled parts the kernels are counted that the compiler wrote.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from pml_gpw.engine.compiled import CompiledFunction
from pml_gpw.value_checks import deferred_checks

NO_LAUNCH = frozenset({"_local_scalar_dense", "_unsafe_view", "resize_", "set_"})
"""Operations that only look at, or allocate, memory, beside those that make something empty."""

WAITS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
"""How torch marks operations whose result the host has to wait for, on an accelerator."""
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
MASKS = (torch.bool, torch.uint8)
PRODUCTS = frozenset({"addmm", "addmm_", "bmm", "mm"})

LAUNCH_SECONDS, WAIT_SECONDS = 5e-6, 20e-6
FLOPS, BYTES_PER_SECOND = 19.5e12, 1.55e12
MODEL = (
    "Roofline model: each operation takes the longest of 5 µs (a launch), its bytes at 1,555 GB/s "
    "and, for products, its sums at 19.5 TFLOP/s (float32 without TF32, the data sheet of an A100 "
    "of 40 GB); each wait of the host 20 µs."
)


@dataclass
class Counts:
    """Of one step."""

    operations: int = 0
    waits: int = 0
    bytes_moved: int = 0
    product_seconds: float = 0.0
    other_seconds: float = 0.0

    @property
    def product_share(self) -> float:
        """The share of the matrix products in the whole step, by the model."""
        whole = self.product_seconds + self.other_seconds
        return self.product_seconds / whole if whole else 0.0


@dataclass
class _Counting(TorchDispatchMode):
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if waits(func, args):
            self.counts.waits += 1
            self.counts.other_seconds += WAIT_SECONDS
        is_view = any(
            r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns
        )
        if not is_view and name not in NO_LAUNCH and "empty" not in name:
            _add(self.counts, name, [*_tensors(args), *_tensors((kwargs or {}).values())], result)
        return result


def waits(func: Any, args: Any) -> bool:
    """Whether an operation makes the host wait, on an accelerator."""
    if func._schema.name.removeprefix("aten::") in INDEXING:  # by a mask, whose number it must know
        return any(isinstance(i, Tensor) and i.dtype in MASKS for i in args[1])
    return not WAITS.isdisjoint(func.tags)


def _add(counts: Counts, name: str, inputs: list[Tensor], result: Any) -> None:
    outputs = [t for t in _tensors([result]) if all(t is not i for i in inputs)]
    moved = sum(t.numel() * t.element_size() for t in (*inputs, *outputs))
    if name.endswith("_") or any(result is i for i in inputs):  # read and written
        moved += inputs[0].numel() * inputs[0].element_size()
    counts.operations += 1
    counts.bytes_moved += moved
    seconds = max(LAUNCH_SECONDS, moved / BYTES_PER_SECOND)
    if name in PRODUCTS:
        left, right = inputs[-2:] if name == "addmm" else inputs[:2]
        if name == "addmm_":
            left, right = inputs[1:3]
        flops = 2 * left.shape[-2] * left.shape[-1] * right.shape[-1]
        counts.product_seconds += max(seconds, flops / FLOPS)
    else:
        counts.other_seconds += seconds


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor) and value.layout == torch.strided:
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(value)
    return found


def counted(step: Callable[[], object]) -> Counts:
    """The counts of a step, as it would run on an accelerator.

    The step is run three times: to compile, to keep what compiled functions return, and under the
    dispatch mode with what they returned.
    """
    with deferred_checks():
        graph = _graph_of(step)
        with _compiled_results() as results:
            step()
        mode = _Counting()
        with _replayed(results, mode.counts, graph), mode:
            step()
    return mode.counts


class _Graph(NamedTuple):
    """What a graph launches."""

    kernels: int  # loops over rows that the compiler wrote: on a GPU each is a kernel
    products: int


def _graph_of(step: Callable[[], object]) -> _Graph:
    """What a graph of a step launches; nothing where nothing is compiled."""
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    torch._dynamo.reset()
    counters.clear()
    metrics.reset()
    step()
    graphs = counters["stats"]["unique_graphs"]
    if not graphs:
        return _Graph(0, 0)
    kernels = metrics.generated_cpp_vec_kernel_count
    return _Graph(-(-kernels // graphs), counters["inductor"]["extern_calls"] // graphs)


@contextmanager
def _compiled_results() -> Iterator[list[Any]]:
    """What compiled functions return inside, in order."""
    results: list[Any] = []
    original = CompiledFunction.__call__

    def keeping(self: Any, arguments: Any, rules: Any, strict: bool) -> Any:
        found = original(self, arguments, rules, strict)
        results.append(tree_map_only(Tensor, Tensor.clone, found))
        return found

    with patch.object(CompiledFunction, "__call__", keeping):
        yield results


@contextmanager
def _replayed(results: list[Any], counts: Counts, graph: _Graph) -> Iterator[None]:
    """Compiled functions return ``results`` inside and are counted as ``graph`` each."""
    left = iter(results)

    def replay(self: Any, arguments: Any, rules: Any, strict: bool) -> Any:
        found = next(left)
        given = [value for value in arguments if isinstance(value, Tensor)]
        moved = sum(
            t.numel() * t.element_size()
            for t in (*given, *tree_leaves(found))
            if isinstance(t, Tensor)
        )
        counts.operations += graph.kernels + graph.products
        counts.bytes_moved += moved
        counts.other_seconds += max(graph.kernels * LAUNCH_SECONDS, moved / BYTES_PER_SECOND)
        if graph.products:  # of a whole batch: each of them all embeddings by all
            n, dims = given[0].shape
            seconds = max(LAUNCH_SECONDS, 2 * n * n * dims / FLOPS)
            counts.product_seconds += graph.products * seconds
            counts.bytes_moved += graph.products * 4 * (n * n + 2 * n * dims)
        return found

    with patch.object(CompiledFunction, "__call__", replay):
        yield
