"""A step in chunks against the ordinary one, with one graph over the whole batch."""

import weakref
from collections import UserDict, defaultdict, namedtuple
from types import MappingProxyType

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, ProxyAnchorLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from torch import nn

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.gradient_caching import GradientCache
from pml_gpw.losses import CrossBatchMemory

from .tolerances import FLOAT32, close

N, D = 23, 5
EXACT = 1e-12


def data(dtype=torch.float64, seed=0, n=N):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (n,), generator=generator)
    centres = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    return (centres[labels] + 0.5 * noise).to(dtype), labels


def network(*extra, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), *extra, nn.Tanh(), nn.Linear(16, D)).to(dtype)


def ordinary(model, loss_fn, inputs, labels, miner=None, chunks=1):
    """One graph; with several chunks that of their outputs together."""
    embeddings = torch.cat([model(chunk) for chunk in inputs.tensor_split(chunks)])
    loss = loss_fn(embeddings, labels, *(() if miner is None else (miner(embeddings, labels),)))
    loss.backward()
    return loss.detach()


def same_gradients(module, reference, tolerance=EXACT):
    pairs = list(zip(module.named_parameters(), reference.parameters(), strict=True))
    largest = max(float(expected.grad.abs().max()) for _, expected in pairs)
    assert largest > 1e-3, "nothing to compare"
    for (name, actual), expected in pairs:
        assert actual.grad is not None, name
        assert actual.grad.dtype == expected.grad.dtype
        scale = max(1.0, largest)
        close(actual.grad / scale, expected.grad / scale, tolerance)


LOSSES = {
    "MSLoss": lambda: (MSLoss(), None),
    "MSMiner + MSWeightedLoss": lambda: (MSWeightedLoss(), MSMiner()),
    "TripletMarginMiner + NTXentLoss": lambda: (NTXentLoss(0.2), TripletMarginMiner()),
    "CrossBatchMemory": lambda: (CrossBatchMemory(MSLoss(), D, 50), None),
    "ProxyAnchorLoss": lambda: (ProxyAnchorLoss(5, D), None),
    "DistributedLoss": lambda: (DistributedLoss(MSLoss()), None),
    "function": lambda: (lambda x, labels: (x[labels == 0].std() * x.mean()).exp(), None),
}


STEPS = [(name, 7, torch.float64) for name in LOSSES]
STEPS += [("MSLoss", size, torch.float32) for size in (1, 7, N, N + 10)]


@pytest.mark.parametrize(("name", "chunk_size", "dtype"), STEPS)
def test_steps_equal_the_ordinary_ones(name, chunk_size, dtype):
    tolerance = EXACT if dtype == torch.float64 else 10 * FLOAT32
    made = []
    for _ in range(2):
        torch.manual_seed(1)
        loss, miner = LOSSES[name]()
        parts = [network(dtype=dtype), *([loss.to(dtype)] if isinstance(loss, nn.Module) else [])]
        made.append((nn.ModuleList(parts), loss, miner))
    (trained, loss, miner), (reference, *others) = made
    step = GradientCache(trained[0], loss, chunk_size, miner)
    for turn in range(3):
        inputs, labels = data(dtype, seed=turn)
        value = step(inputs, labels)
        assert not value.requires_grad
        expected = ordinary(reference[0], others[0], inputs, labels, others[1])
        close(value, expected, tolerance)
        same_gradients(trained, reference, tolerance)


def weighted_sum(embeddings, labels):
    return (embeddings * torch.arange(1, D + 1)).square().sum()


class Then(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def noisy():
    return network(Then(lambda x: nn.functional.dropout(x, 0.4) + 0.1 * torch.randn_like(x)))


def jittered(embeddings, labels):
    return MSLoss()(embeddings + 0.01 * torch.randn_like(embeddings), labels)


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("chunk_size", [1, 7, N + 10])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_random_numbers_are_those_of_one_forward(chunk_size, device):
    inputs, labels = (tensor.to(device) for tensor in data())
    model, reference = noisy().to(device), noisy().to(device)
    state = torch.get_rng_state if device == "cpu" else torch.cuda.get_rng_state
    torch.manual_seed(5)
    expected = ordinary(reference, jittered, inputs, labels, chunks=-(-N // chunk_size))
    after = state()
    torch.manual_seed(5)
    tolerance = EXACT if device == "cpu" else 1e-10
    found = GradientCache(model, jittered, chunk_size)(inputs, labels)
    close(found.cpu(), expected.cpu(), tolerance)
    assert state().equal(after)
    same_gradients(model.cpu(), reference.cpu(), tolerance)


def statistics(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


class Counts(nn.Module):
    """State that forward uses and replaces, and some that is not there yet."""

    def __init__(self):
        super().__init__()
        self.register_buffer("turn", torch.zeros(()))
        self.register_buffer("seen", None)

    def forward(self, x):
        shift = 0.3 if self.seen is None else self.seen
        self.turn, self.seen = self.turn + 1, x.detach().mean()
        return shift + x * (1 + 0.1 * self.turn)


def test_buffers_move_once_per_chunk():
    """Of batch and spectral normalisation and a counter; gradients of two batches add up."""

    def make():
        return nn.Sequential(
            nn.utils.spectral_norm(nn.Linear(6, 6)),
            network(nn.BatchNorm1d(16), nn.BatchNorm1d(16, momentum=None)),
            Counts(),
        ).double()

    model, reference = make(), make()
    reference.load_state_dict(model.state_dict())
    buffers = dict(model.named_buffers())
    start = statistics(model)
    for seed in range(2):
        batch = data(seed=seed)
        ordinary(reference, MSLoss(), *batch, chunks=4)
        GradientCache(model, MSLoss(), 7)(*batch)
        same_gradients(model, reference)
    moved = statistics(model)
    assert moved["2.turn"] == moved["1.2.num_batches_tracked"] == 8
    for name, value in statistics(reference).items():
        close(moved[name], value, EXACT)
        if name in start:
            assert not moved[name].equal(start[name]), f"{name} does not move"
    assert model[1][1].running_mean is buffers["1.1.running_mean"]


def test_buffers_are_kept_when_forward_fails():
    model = network(nn.BatchNorm1d(16))
    before = statistics(model)
    model.append(nn.Flatten(0))
    with pytest.raises(ValueError, match="model must give"):
        GradientCache(model, MSLoss(), 7)(*data())
    assert all(value.equal(before[name]) for name, value in statistics(model).items())


class Stashes(torch.autograd.Function):
    """Counts the rows of nodes that are alive, which are as long as their graphs."""

    @staticmethod
    def forward(ctx, x, held):
        ctx.stashed = nn.Module()
        rows = len(x)
        held["now"] += rows
        held["peak"] = max(held["peak"], held["now"])
        weakref.finalize(ctx.stashed, lambda: held.update(now=held["now"] - rows))
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        return upstream, None


def test_one_graph_at_a_time():
    inputs, labels = data(n=40)
    held = [{"now": 0, "peak": 0} for _ in range(2)]
    whole, cached = (network().append(Then(lambda x, h=h: Stashes.apply(x, h))) for h in held)
    ordinary(whole, weighted_sum, inputs, labels)
    GradientCache(cached, weighted_sum, 4)(inputs, labels)
    assert (held[0]["peak"], held[1]["peak"], held[1]["now"]) == (40, 4, 0)
    same_gradients(cached, whole)


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize(
    ("make", "of", "kind"),
    [
        (lambda x: {"rgb": x, "depth": x.flip(0)}, lambda d: d["rgb"] * d["depth"], dict),
        (lambda x: (x, x.flip(0)), lambda t: t[0] * t[1], tuple),
        (lambda x: [x, {"deep": (x.flip(0),)}], lambda t: t[0] * t[1]["deep"][0], list),
        (lambda x: Pair(x, x.flip(0)), lambda t: t.first * t.second, Pair),
        (lambda x: UserDict(rgb=x, depth=x.flip(0)), lambda d: d["rgb"] * d["depth"], UserDict),
        (lambda x: MappingProxyType({"rgb": x}), lambda d: d["rgb"], MappingProxyType),
        (lambda x: defaultdict(None, rgb=x), lambda d: d["rgb"], dict),
    ],
)
def test_structures(make, of, kind):
    """Each chunk has the structure of the inputs, and chunks are as equal as can be."""
    inputs, labels = data()
    given = []

    def first(x):
        given.append(x)
        return of(x)

    model, reference = (nn.Sequential(Then(function), network()) for function in (first, of))
    value = GradientCache(model, MSLoss(), 8)(make(inputs), labels)
    loss = MSLoss()(reference(make(inputs)), labels)
    loss.backward()
    close(value, loss, EXACT)
    same_gradients(model, reference)
    assert {type(x) for x in given} == {kind}
    assert [len(of(x)) for x in given] == [8, 8, 7] * 2


def test_a_model_that_uses_its_output_again():
    """What it gave for a chunk is overwritten by the next."""
    (inputs, labels), reference, output = data(), network(), torch.empty(7, D).double()

    def reused(x):
        return x if torch.is_grad_enabled() else output[: len(x)].copy_(x)

    value = GradientCache(network().append(Then(reused)), MSLoss(), 7)(inputs, labels)
    close(value, MSLoss()(reference(inputs), labels).detach(), EXACT)


def test_autocast():
    """Both forwards and the loss are under it, backward is not, and gradients are no worse."""
    batch = data(torch.float32)
    dtypes, in_backward = [], []

    def half(x):  # a dtype that autocast does not concatenate
        dtypes.append(x.dtype)
        return looking(x.half())

    def looking(x):
        if x.requires_grad:
            x.register_hook(lambda _: in_backward.append(torch.is_autocast_enabled("cpu")))
        return x

    def loss_fn(embeddings, labels):
        assert embeddings.dtype == torch.float16
        assert torch.is_autocast_enabled("cpu")
        return MSLoss()(looking(embeddings), labels)

    exact = network()
    theirs = network(dtype=torch.float32).append(Then(lambda x: x.half()))
    ours = network(dtype=torch.float32).append(Then(half))
    expected = ordinary(exact, MSLoss(), *data())
    with torch.autocast("cpu", torch.bfloat16):
        value = MSLoss()(theirs(batch[0]), batch[1])
    value.backward()
    with torch.autocast("cpu", torch.bfloat16):
        close(GradientCache(ours, loss_fn, 7)(*batch), value)
        assert torch.is_autocast_enabled("cpu")
    assert dtypes == [torch.bfloat16] * 8
    assert in_backward == [False] * 5
    assert (value.double() - expected).abs() > 1e-5, "autocast did nothing"
    eps = torch.finfo(torch.bfloat16).eps
    for e, a, b in zip(*(net.parameters() for net in (exact, theirs, ours)), strict=True):
        assert b.grad.dtype == torch.float32
        e, floor = e.grad, eps * e.grad.abs().max()
        assert (b.grad - e).abs().max() <= 2 * (a.grad - e).abs().max() + floor


def test_gradient_scaler():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    model, reference = (network(dtype=torch.float32) for _ in range(2))
    value = GradientCache(model, MSLoss(), 7, scaler=scaler)(*data(torch.float32))
    close(value, ordinary(reference, MSLoss(), *data(torch.float32)))
    scaler.unscale_(torch.optim.SGD(model.parameters(), lr=0.1))
    same_gradients(model, reference, 10 * FLOAT32)


def test_a_loss_without_the_embeddings():
    """Every parameter has a gradient, and it is zero."""
    model, other = network(), nn.Parameter(torch.ones(()))
    assert GradientCache(model, lambda x, y: other.square(), 7)(*data()) == 1
    assert other.grad == 2
    assert all(parameter.grad.eq(0).all() for parameter in model.parameters())


def test_parameters_that_are_frozen():
    model, reference = network(), network()
    model[0].requires_grad_(False)
    GradientCache(model, MSLoss(), 7)(*data())
    ordinary(reference, MSLoss(), *data())
    assert all(parameter.grad is None for parameter in model[0].parameters())
    same_gradients(model[2], reference[2])
    inputs, labels = data()
    GradientCache(model.requires_grad_(False), MSLoss(), 2)(inputs.requires_grad_(), labels)
    assert inputs.grad.isfinite().all()


def giving(function):
    return network().append(Then(function))


X, LABELS = data()


@pytest.mark.parametrize(
    ("arguments", "inputs", "labels", "message"),
    [
        ({"model": lambda x: x}, X, LABELS, r"model must be an nn\.Module, got function"),
        ({"loss_fn": 3}, X, LABELS, "loss_fn must be callable, got int"),
        ({"miner": 0.1}, X, LABELS, "miner must be callable, got float"),
        ({"scaler": "x"}, X, LABELS, "scaler must be a GradScaler or None, got str"),
        ({"chunk_size": 0}, X, LABELS, "chunk_size must be an integer > 0, got 0"),
        ({}, X[:0], LABELS[:0], "inputs must have at least one row in a single process, got none"),
        ({}, X, LABELS[1:], r"labels must have the 23 rows of inputs, got shape \(22,\)"),
        ({}, X, LABELS[0], r"labels must have the 23 rows of inputs, got shape \(\)"),
        ({}, (X, X[2:]), LABELS, "inputs must have the same number of rows .*, got 21, 23"),
        ({}, "text", LABELS, "inputs must be a tensor .*, got str"),
        ({}, (), LABELS, "inputs must be a tensor .*, got tuple"),
        ({}, X[0, 0], LABELS, r"inputs must be a tensor .*, got torch\.float64 \(\)"),
        ({"model": giving(lambda x: x[:, 0])}, X, LABELS, r"model .* \(6, D\).*, got .* \(6,\)"),
        ({"model": giving(lambda x: (x, x))}, X, LABELS, r"model .* \(6, D\).*, got tuple"),
        ({"model": giving(lambda x: x.long())}, X, LABELS, "model .* floating-point .*int64"),
        ({"model": network().requires_grad_(False)}, X, LABELS, "model must have a parameter that"),
        ({"loss_fn": lambda x, y: x.sum(dim=1)}, X, LABELS, r"loss_fn .* scalar, got .* \(23,\)"),
        ({"loss_fn": lambda x, y: x.sum().detach()}, X, LABELS, "loss_fn .* loss with a gradient"),
    ],
)
def test_what_is_refused_leaves_no_gradient(arguments, inputs, labels, message):
    given = {"model": network(), "loss_fn": MSLoss(), "chunk_size": 7} | arguments
    with pytest.raises(ValueError, match=message):
        GradientCache(**given)(inputs, labels)
    if isinstance(given["model"], nn.Module):
        assert all(parameter.grad is None for parameter in given["model"].parameters())


def test_a_step_needs_gradients():
    with torch.no_grad(), pytest.raises(ValueError, match="gradients must be enabled"):
        GradientCache(network(), MSLoss(), 2)(*data())
