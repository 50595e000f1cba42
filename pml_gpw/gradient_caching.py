"""Batches larger than the device: the network runs in chunks, the loss sees all rows.

Shapes: N rows of the batch, C chunks, n_c rows of chunk c, D dims.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from . import checks
from .precision import full_precision

__all__ = ["GradientCache"]


class GradientCache:
    """One training step whose network runs in chunks and whose loss sees the whole batch.

    Call it as ``step(inputs, labels)`` in place of forward and backward; afterwards the gradients
    are in ``.grad``:

    >>> import torch
    >>> from pml_gpw.gradient_caching import GradientCache
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> def loss_fn(embeddings, labels):  # a loss of this package or of PML, or a function
    ...     return torch.cdist(embeddings, embeddings).mean()
    >>> step = GradientCache(model, loss_fn, chunk_size=3)
    >>> inputs, labels = torch.arange(32.0).reshape(8, 4), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    >>> optimizer.zero_grad()
    >>> loss = step(inputs, labels)
    >>> optimizer.step()
    >>> loss.shape, loss.requires_grad, model.weight.grad.shape
    (torch.Size([]), False, torch.Size([2, 4]))

    **Equation.** With the embeddings X = [`X_1`; …; `X_C`] (N, D), `X_c = f(inputs_c; θ)`, the loss
    depends on θ through X only, so by the chain rule

    `∂L/∂θ = Σ_c (∂L/∂X_c)·(∂X_c/∂θ)`

    (1) f runs chunk by chunk without a graph; (2) L of all N embeddings, and its backward, give the
    cached ∂L/∂X and the gradients of the loss's own parameters; (3) f runs once more, chunk by
    chunk, and backward through each chunk's graph starts from its rows of ∂L/∂X before the next
    graph is made. Value and gradient are those of one graph over all chunks: the loss is not
    approximated.

    **Random numbers.** Each chunk of (3) starts from the random state that it had in (1), on the
    CPU and on the CUDA devices of model and inputs, so dropout drops the same units. Afterwards the
    state is that after one forward of the chunks and the loss. Python's and NumPy's random numbers
    and non-deterministic kernels are not replayed; a change that they make in an embedding is an
    error of the gradient.

    **Buffers** are restored before (3) begins, so a step updates them once per chunk, not twice.
    State that a model keeps elsewhere is updated twice. BatchNorm in training mode normalizes by
    the statistics of its chunk, as in any training with batches of that size;
    ``freeze_batch_norm`` of ``pml_gpw.backbones`` makes the chunks agree with the whole batch.

    **Mixed precision.** Call it under ``autocast``: (1), (2) and (3) run forward under it, and
    backward without, as is usual. A ``scaler`` scales the loss before backward; its ``step`` and
    ``update`` are called as usual.

    **Several processes.** Wrap the network in DistributedDataParallel and give a
    ``DistributedLoss``. Gradients are reduced once, with the last chunk; processes may have
    different numbers of rows and chunks, or no row at all if the network takes such a batch.
    ``SyncBatchNorm`` and other modules that communicate in forward need the same number of
    chunks in each process. An error of one process before its loss is not known to the others.

    **Memory**: activations of one chunk, embeddings and their gradient (2·N·D), what the loss
    holds, and a copy of the buffers. **Cost**: one more forward.

    Args:
        model: called as ``model(chunk)``; gives embeddings (n_c, D).
        loss_fn: ``loss_fn(embeddings, labels)``, or with the miner's tuple behind them, is a
            scalar: a loss of this package or of PML, a memory, a ``DistributedLoss`` or a function.
        chunk_size: the largest number of rows in a chunk; sizes differ by one at most.
        miner: ``miner(embeddings, labels)``, or None.
        scaler: a ``GradScaler``, or None.

    The call takes ``inputs``, a tensor (N, ...) or a tuple, list or mapping of such (a dict, a
    ``BatchEncoding``), which the model receives in the same structure with fewer rows, and
    ``labels``, (N, ...) if they are a tensor, which go to loss and miner. It returns the loss,
    detached and unscaled.

    Errors: ValueError for a model that is no ``nn.Module``, gives no (n_c, D) tensor, has a static
    graph or learns nothing, for other inputs and lengths that differ, for a batch without rows
    unless there are several processes, and for a loss that is no scalar.

    Reference: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
    RepL4NLP 2021.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[..., Tensor],
        chunk_size: int,
        miner: Callable[..., Any] | None = None,
        scaler: Any = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(f"model must be an nn.Module, got {type(model).__name__}")
        if any(replica.static_graph for replica in _replicas(model)):
            raise ValueError(
                "model must be a DistributedDataParallel with static_graph=False, since its "
                "gradients are reduced with the last chunk only, got static_graph=True"
            )
        for name, function in (("loss_fn", loss_fn), ("miner", miner)):
            if not callable(function) and not (name == "miner" and function is None):
                raise ValueError(f"{name} must be callable, got {type(function).__name__}")
        if scaler is not None and not callable(getattr(scaler, "scale", None)):
            raise ValueError(f"scaler must be a GradScaler or None, got {type(scaler).__name__}")
        checks.positive_integer("chunk_size", chunk_size)
        self.model = model
        self.loss_fn = loss_fn
        self.chunk_size = chunk_size
        self.miner = miner
        self.scaler = scaler

    def __call__(self, inputs: Any, labels: Any) -> Tensor:
        """Compute the gradients of one step and return the loss, detached and unscaled."""
        rows = _count_rows(inputs)
        if rows == 0 and not (dist.is_available() and dist.is_initialized()):
            raise ValueError("inputs must have at least one row in a single process, got none")
        if not torch.is_grad_enabled():
            raise ValueError("gradients must be enabled for a step, got a call under torch.no_grad")
        if isinstance(labels, Tensor) and labels.shape[:1] != (rows,):
            raise ValueError(
                f"labels must have the {rows} rows of inputs, got shape {tuple(labels.shape)}"
            )
        # A process without rows has a chunk too: the others wait for it in the reduction.
        chunks = _split(inputs, max(1, -(-rows // self.chunk_size)))
        embeddings, states = self._embed(chunks, _cuda_devices(self.model, inputs))
        loss, gradient = self._loss_and_gradient(embeddings, labels)
        self._backward(chunks, states, gradient)
        return loss

    def _embed(
        self, chunks: list[Any], devices: list[torch.device]
    ) -> tuple[Tensor, list["_RandomState"]]:
        """Return the embeddings (N, D) without a graph, and the random state before each chunk."""
        parts, states = [], []
        with torch.no_grad(), _restored_buffers(self.model):
            for chunk in chunks:
                states.append(_RandomState.capture(devices))
                # A copy: the model may use the memory again for the next chunk.
                parts.append(_check_embeddings(self.model(chunk), _count_rows(chunk)).clone())
        # Some versions of torch cache weights that were cast without a graph for the next pass.
        torch.clear_autocast_cache()
        with full_precision(parts[0]):  # autocast does not concatenate some dtypes
            return torch.cat(parts), states

    def _loss_and_gradient(self, embeddings: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient (N, D)."""
        leaf = embeddings.requires_grad_()
        indices_tuple = () if self.miner is None else (self.miner(leaf, labels),)
        loss = self.loss_fn(leaf, labels, *indices_tuple)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(f"loss_fn must give a scalar, got {checks.described(loss)}")
        if not loss.requires_grad:
            raise ValueError("loss_fn must give a loss with a gradient, got a detached one")
        with full_precision(leaf):
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return loss.detach(), torch.zeros_like(leaf) if leaf.grad is None else leaf.grad

    def _backward(self, chunks: list[Any], states: list["_RandomState"], gradient: Tensor) -> None:
        """Propagate the cached gradient (N, D) to the parameters, chunk by chunk."""
        replicas = _replicas(self.model)
        remaining = len(chunks)
        for chunk, state, upstream in zip(
            chunks, states, gradient.tensor_split(len(chunks)), strict=True
        ):
            remaining -= 1
            with ExitStack() as stack:
                for replica in replicas if remaining else ():
                    stack.enter_context(replica.no_sync())
                stack.enter_context(state.restored())
                embeddings = self.model(chunk)
                if not embeddings.requires_grad:
                    raise ValueError(
                        "model must have a parameter that requires a gradient, got embeddings "
                        "without a graph"
                    )
                stack.enter_context(full_precision(embeddings))
                embeddings.backward(upstream)
            del embeddings  # otherwise its graph would exist during the next forward


class _RandomState(NamedTuple):
    """The state of torch's random number generators on the CPU and on some CUDA devices."""

    cpu: Tensor
    cuda: dict[torch.device, Tensor]

    @classmethod
    def capture(cls, devices: list[torch.device]) -> "_RandomState":
        states = {device: torch.cuda.get_rng_state(device) for device in devices}
        return cls(torch.get_rng_state(), states)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Set this state in the context, and the current one again at its end."""
        with torch.random.fork_rng(list(self.cuda)):
            torch.set_rng_state(self.cpu)
            for device, state in self.cuda.items():
                torch.cuda.set_rng_state(state, device)
            yield


@contextmanager
def _restored_buffers(model: nn.Module) -> Iterator[None]:
    """Restore the buffers of the model, which forward may change, at the end of the context."""
    saved: dict[tuple[nn.Module, str], tuple[Tensor | None, Tensor | None]] = {}

    def save(module: nn.Module, *_: Any) -> None:
        for part in module.modules():
            for name, buffer in part._buffers.items():
                saved[part, name] = buffer, None if buffer is None else buffer.clone()

    save(model)
    with ExitStack() as stack:
        for replica in _replicas(model):
            # A replica receives the buffers of rank 0 when its first forward begins, and not again
            # in this step, so these are the values to restore.
            stack.callback(_call_before_first_forward(replica.module, save))
        try:
            yield
        finally:
            with torch.no_grad():
                for (part, name), (buffer, value) in saved.items():
                    if buffer is not None and value is not None:
                        buffer.copy_(value)
                    part._buffers[name] = buffer  # forward may have replaced it


def _call_before_first_forward(
    module: nn.Module, function: Callable[[nn.Module], None]
) -> Callable[[], None]:
    """Register the function to be called once; return a function that unregisters it."""

    def call_once(module: nn.Module, *_: Any) -> None:
        handle.remove()
        function(module)

    handle = module.register_forward_pre_hook(call_once)
    return handle.remove


def _check_embeddings(embeddings: Any, rows: int) -> Tensor:
    """Return the embeddings, or raise a ValueError unless they have shape (rows, D)."""
    is_matrix = isinstance(embeddings, Tensor) and embeddings.ndim == 2
    if not is_matrix or len(embeddings) != rows or not embeddings.is_floating_point():
        raise ValueError(
            f"model must give floating-point embeddings of shape ({rows}, D), one a row of its "
            f"inputs, got {checks.described(embeddings)}"
        )
    return embeddings


def _replicas(model: nn.Module) -> list[DistributedDataParallel]:
    """Return the parts of the model that are wrapped in DistributedDataParallel."""
    return [part for part in model.modules() if isinstance(part, DistributedDataParallel)]


def _cuda_devices(model: nn.Module, inputs: Any) -> list[torch.device]:
    tensors = [*model.parameters(), *model.buffers(), *_tensors(inputs)]
    return sorted({t.device for t in tensors if t.is_cuda}, key=lambda device: device.index)


def _tensors(inputs: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested tuples, lists and mappings."""
    if isinstance(inputs, Tensor) and inputs.ndim > 0:
        yield inputs
    elif isinstance(inputs, Mapping | tuple | list) and len(inputs) > 0:
        for part in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from _tensors(part)
    else:
        raise ValueError(
            "inputs must be a tensor (N, ...) or a tuple, list or mapping of such, "
            f"got {checks.described(inputs)}"
        )


def _count_rows(inputs: Any) -> int:
    """Return N; ValueError where the tensors have different numbers of rows."""
    rows = sorted({len(tensor) for tensor in _tensors(inputs)})
    if len(rows) != 1:
        raise ValueError(
            f"inputs must have the same number of rows in all tensors, got {str(rows)[1:-1]}"
        )
    return rows[0]


def _split(inputs: Any, count: int) -> list[Any]:
    """Split the inputs into ``count`` chunks, each with the structure of the inputs."""
    if isinstance(inputs, Tensor):
        return list(inputs.tensor_split(count))
    if isinstance(inputs, Mapping):
        parts = [_split(part, count) for part in inputs.values()]
        make: Any = dict if isinstance(inputs, dict) else type(inputs)
        return [make(dict(zip(inputs, chunk, strict=True))) for chunk in zip(*parts, strict=True)]
    parts = [_split(part, count) for part in inputs]
    make = getattr(type(inputs), "_make", type(inputs))  # for named tuples
    return [make(chunk) for chunk in zip(*parts, strict=True)]
