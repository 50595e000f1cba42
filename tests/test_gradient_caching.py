"""A step in chunks against the ordinary one, with one graph over the whole batch."""

import copy
import weakref
from collections import UserDict, defaultdict, namedtuple
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss, ProxyAnchorLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from torch import nn

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.backbones import freeze_batch_norm
from pml_gpw.distributed import DistributedLoss
from pml_gpw.gradient_caching import GradientCache, _RandomState
from pml_gpw.losses import CrossBatchMemory

from .tolerances import FLOAT32, close

N, D = 23, 5
EXACT = 1e-12
CHUNK_SIZES = (1, 7, N, N + 10)


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


def chunks_of(chunk_size, n=N):
    return -(-n // chunk_size)


LOSSES = {
    "MSLoss": lambda: (MSLoss(), None),
    "MSMiner + MSWeightedLoss": lambda: (MSWeightedLoss(), MSMiner()),
    "NTXentLoss": lambda: (NTXentLoss(0.2), None),
    "TripletMarginMiner + NTXentLoss": lambda: (NTXentLoss(0.2), TripletMarginMiner()),
    "CrossBatchMemory": lambda: (CrossBatchMemory(MSLoss(), D, 50), None),
    "ProxyAnchorLoss": lambda: (proxies(), None),
    "DistributedLoss": lambda: (DistributedLoss(MSLoss()), None),
    "function": lambda: (lambda x, labels: (x[labels == 0].std() * x.mean()).exp(), None),
}


def proxies():
    torch.manual_seed(1)
    return ProxyAnchorLoss(5, D)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
@pytest.mark.parametrize("name", LOSSES)
def test_steps_equal_the_ordinary_ones(name, chunk_size, dtype):
    """Training of some steps: value, gradients of network and loss, and where both end."""
    tolerance = EXACT if dtype == torch.float64 else 10 * FLOAT32
    (loss_fn, miner), (other, other_miner) = LOSSES[name](), LOSSES[name]()
    trained = nn.ModuleList([network(dtype=dtype)])
    reference = nn.ModuleList([network(dtype=dtype)])
    for loss, modules in ((loss_fn, trained), (other, reference)):
        if isinstance(loss, nn.Module):
            modules.append(loss.to(dtype))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05) for m in (trained, reference)]
    step = GradientCache(trained[0], loss_fn, chunk_size, miner)
    for turn in range(3):
        inputs, labels = data(dtype, seed=turn)
        for optimizer in optimizers:
            optimizer.zero_grad()
        value = step(inputs, labels)
        assert not value.requires_grad
        close(value, ordinary(reference[0], other, inputs, labels, other_miner), tolerance)
        same_gradients(trained, reference, tolerance)
        for optimizer in optimizers:
            optimizer.step()


@settings(max_examples=40)
@given(n=st.integers(1, 20), chunk_size=st.integers(1, 25), seed=st.integers(0, 100))
def test_any_chunks(n, chunk_size, seed):
    inputs, labels = data(seed=seed, n=n)
    model, reference = network(), network()
    loss_fn = NTXentLoss(0.2) if len(set(labels.tolist())) < n else weighted_sum
    step = GradientCache(model, loss_fn, chunk_size)
    close(step(inputs, labels), ordinary(reference, loss_fn, inputs, labels), EXACT)
    for actual, expected in zip(model.parameters(), reference.parameters(), strict=True):
        close(actual.grad, expected.grad, EXACT)


def weighted_sum(embeddings, labels):
    return (embeddings * torch.arange(1, D + 1)).square().sum()


def test_gradients_accumulate():
    model, reference = network(), network()
    for seed in range(2):
        batch = data(seed=seed)
        GradientCache(model, MSLoss(), 7)(*batch)
        ordinary(reference, MSLoss(), *batch)
    same_gradients(model, reference)


@pytest.mark.filterwarnings("ignore:MSLoss. no pairs")
@pytest.mark.parametrize("wrong", ["loss of each chunk", "shuffled", "not cached"])
def test_other_gradients_are_noticed(wrong):
    model, reference = network(), network()
    inputs, labels = data()
    ordinary(reference, MSLoss(), inputs, labels)
    backward = GradientCache._backward

    def spoiled(self, chunks, states, gradient):
        gradient = gradient.roll(1, 0) if wrong == "shuffled" else torch.ones_like(gradient)
        backward(self, chunks, states, gradient)

    if wrong == "loss of each chunk":
        for x, y in zip(inputs.tensor_split(4), labels.tensor_split(4), strict=True):
            (MSLoss()(model(x), y) * len(x) / N).backward()
    else:
        with mock.patch.object(GradientCache, "_backward", spoiled):
            GradientCache(model, MSLoss(), 7)(inputs, labels)
    with pytest.raises(AssertionError, match="off by"):
        same_gradients(model, reference)


class Draws(nn.Module):
    """Randomness of several kinds: dropout, noise, and a loss of its own."""

    def forward(self, x):
        return nn.functional.dropout(x, 0.4) + 0.1 * torch.randn_like(x)


def jittered(embeddings, labels):
    return MSLoss()(embeddings + 0.01 * torch.randn_like(embeddings), labels)


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_random_numbers_are_those_of_one_forward(chunk_size):
    inputs, labels = data()
    model, reference = network(Draws()), network(Draws())
    torch.manual_seed(5)
    expected = ordinary(reference, jittered, inputs, labels, chunks=chunks_of(chunk_size))
    after = torch.get_rng_state()
    torch.manual_seed(5)
    close(GradientCache(model, jittered, chunk_size)(inputs, labels), expected, EXACT)
    assert torch.get_rng_state().equal(after)
    same_gradients(model, reference)


def test_without_replay_the_gradient_is_another():
    inputs, labels = data()
    model, reference = network(Draws()), network(Draws())
    torch.manual_seed(5)
    expected = ordinary(reference, jittered, inputs, labels, chunks=4)
    torch.manual_seed(5)
    with mock.patch.object(_RandomState, "restored", return_value=nullcontext()):
        close(GradientCache(model, jittered, 7)(inputs, labels), expected, EXACT)
    with pytest.raises(AssertionError, match="off by"):
        same_gradients(model, reference)


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
    """Batch normalisation by the statistics of a chunk, spectral normalisation, a counter."""

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


def test_frozen_batch_norm_agrees_with_the_whole_batch():
    def make():
        model = freeze_batch_norm(network(nn.BatchNorm1d(16)))
        model[1].running_mean.fill_(0.3)
        return model.train()

    model, reference = make(), make()
    value = GradientCache(model, MSLoss(), 7)(*data())
    close(value, ordinary(reference, MSLoss(), *data()), EXACT)
    same_gradients(model, reference)
    thawed = network(nn.BatchNorm1d(16))
    assert (GradientCache(thawed, MSLoss(), 7)(*data()) - value).abs() > 1e-3


class Tracked:
    """A saved tensor that counts as long as it is alive."""

    def __init__(self, tensor, held):
        self.tensor = tensor
        held["now"] += tensor.numel()
        held["peak"] = max(held["peak"], held["now"])
        weakref.finalize(self, self.freed, tensor.numel(), held)

    @staticmethod
    def freed(numel, held):
        held["now"] -= numel


class Stashes(torch.autograd.Function):
    """Keeps a tensor in its node, which lives as long as the graph, and not only until backward."""

    @staticmethod
    def forward(ctx, x, held):
        ctx.tracked = Tracked(x, held)
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        return upstream, None


class Watched(nn.Module):
    """A network whose activations held for backward are counted."""

    def __init__(self):
        super().__init__()
        self.net, self.held = network(), {"now": 0, "peak": 0}

    def forward(self, x):
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: Tracked(tensor, self.held), lambda tracked: tracked.tensor
        ):
            return Stashes.apply(self.net(x), self.held)


def test_one_graph_at_a_time():
    """No more is held for backward than by one chunk."""
    inputs, labels = data(n=40)
    whole, chunk, cached = Watched(), Watched(), Watched()
    ordinary(whole, weighted_sum, inputs, labels)
    ordinary(chunk, weighted_sum, inputs[:4], labels[:4])
    GradientCache(cached, weighted_sum, 4)(inputs, labels)
    assert cached.held["peak"] == chunk.held["peak"] < 0.5 * whole.held["peak"]
    assert cached.held["now"] == 0
    same_gradients(cached, whole)


class Embeds(nn.Module):
    """Takes anything nested, and says what it was given."""

    def __init__(self, of):
        super().__init__()
        self.net, self.of, self.given = network(), of, []

    def forward(self, inputs):
        self.given.append(inputs)
        return self.net(self.of(inputs))


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize(
    ("make", "of"),
    [
        (lambda x: {"rgb": x, "depth": x.flip(0)}, lambda d: d["rgb"] * d["depth"]),
        (lambda x: (x, x.flip(0)), lambda t: t[0] * t[1]),
        (lambda x: [x, {"deep": (x.flip(0),)}], lambda t: t[0] * t[1]["deep"][0]),
        (lambda x: Pair(x, x.flip(0)), lambda t: t.first * t.second),
        (lambda x: UserDict(rgb=x, depth=x.flip(0)), lambda d: d["rgb"] * d["depth"]),
        (lambda x: MappingProxyType({"rgb": x}), lambda d: d["rgb"]),
    ],
    ids=["dict", "tuple", "nested", "named", "user's", "read only"],
)
def test_structures(make, of):
    inputs, labels = data()
    model, reference = Embeds(of), Embeds(of)
    value = GradientCache(model, MSLoss(), 7)(make(inputs), labels)
    loss = MSLoss()(reference(make(inputs)), labels)
    loss.backward()
    close(value, loss, EXACT)
    same_gradients(model, reference)
    assert len(model.given) == 8
    assert {type(given) for given in model.given} == {type(make(inputs))}


def test_dicts_of_all_kinds_are_given_as_dicts():
    model = Embeds(lambda d: d["rgb"])
    inputs, labels = data()
    GradientCache(model, MSLoss(), 7)(defaultdict(None, rgb=inputs), labels)
    assert {type(given) for given in model.given} == {dict}


def test_a_model_that_uses_its_output_again():
    """What it gave for a chunk is overwritten by the next."""

    class Reusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.output = network(), torch.empty(7, D, dtype=torch.float64)

        def forward(self, x):
            if torch.is_grad_enabled():
                return self.net(x)
            return self.output[: len(x)].copy_(self.net(x))

    (inputs, labels), reference = data(), network()
    value = GradientCache(Reusing(), MSLoss(), 7)(inputs, labels)
    close(value, MSLoss()(reference(inputs), labels).detach(), EXACT)


def test_the_batch_of_a_tokenizer():
    """What a tokenizer gives, which is no dict."""
    transformers = pytest.importorskip("transformers")
    inputs, labels = data()
    model, reference = (Embeds(lambda batch: batch.input_ids) for _ in range(2))
    batch = transformers.BatchEncoding({"input_ids": inputs})
    GradientCache(model, MSLoss(), 7)(batch, labels)
    MSLoss()(reference(batch), labels).backward()
    same_gradients(model, reference)
    assert len(batch.input_ids) == N


def test_chunks_are_as_equal_as_can_be():
    model = Embeds(lambda x: x)
    GradientCache(model, MSLoss(), 8)(*data(n=17))
    assert [len(given) for given in model.given] == [6, 6, 5] * 2


def test_autocast():
    """Embeddings as under autocast in both passes, and gradients no worse than its own."""
    batch = data(torch.float32)
    exact, theirs, ours = network(), *(network(dtype=torch.float32) for _ in range(2))
    seen = []

    def loss_fn(embeddings, labels):
        seen.append((embeddings.dtype, torch.is_autocast_enabled("cpu")))
        return MSLoss()(embeddings, labels)

    expected = ordinary(exact, MSLoss(), *data())
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = theirs(batch[0])
        value = MSLoss()(embeddings, batch[1])
        assert embeddings.dtype == torch.bfloat16
    value.backward()
    forward = []
    ours[0].register_forward_hook(lambda module, args, output: forward.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        close(GradientCache(ours, loss_fn, 7)(*batch), value)
        assert torch.is_autocast_enabled("cpu")
    assert seen == [(torch.bfloat16, True)]
    assert forward == [torch.bfloat16] * 8
    assert (value.double() - expected).abs() > 1e-5, "autocast did nothing"
    eps = torch.finfo(torch.bfloat16).eps
    for e, a, b in zip(*(net.parameters() for net in (exact, theirs, ours)), strict=True):
        assert b.grad.dtype == torch.float32
        e, floor = e.grad, eps * e.grad.abs().max()
        assert (b.grad - e).abs().max() <= 2 * (a.grad - e).abs().max() + floor


def test_backward_runs_without_autocast():
    seen = []

    class Looks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, upstream):
            seen.append(torch.is_autocast_enabled("cpu"))
            return upstream

    class Layer(nn.Module):
        def forward(self, x):
            return Looks.apply(x)

    with torch.autocast("cpu", torch.bfloat16):
        GradientCache(network(Layer()), lambda x, y: Looks.apply(x).sum(), 7)(*data())
    assert seen == [False] * 5


def test_embeddings_that_autocast_cannot_concatenate():
    class Half(nn.Module):
        def forward(self, x):
            return x.half()

    batch = data(torch.float32)
    model, reference = (network(dtype=torch.float32).append(Half()) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        value = GradientCache(model, MSLoss(), 7)(*batch)
        expected = MSLoss()(reference(batch[0]), batch[1])
    expected.backward()
    close(value, expected)
    same_gradients(model, reference, torch.finfo(torch.bfloat16).eps)


def test_gradient_scaler():
    batch = data(torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    model, reference = network(dtype=torch.float32), network(dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    value = GradientCache(model, MSLoss(), 7, scaler=scaler)(*batch)
    close(value, ordinary(reference, MSLoss(), *batch))
    scaled = copy.deepcopy(reference)
    for parameter, source in zip(scaled.parameters(), reference.parameters(), strict=True):
        parameter.grad = source.grad * 2.0**10
    same_gradients(model, scaled, 1000 * FLOAT32)
    scaler.unscale_(optimizer)
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


@contextmanager
def untouched(model):
    yield
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"model": lambda x: x}, r"model must be an nn\.Module, got function"),
        ({"loss_fn": 3}, "loss_fn must be callable, got int"),
        ({"loss_fn": None}, "loss_fn must be callable, got NoneType"),
        ({"miner": 0.1}, "miner must be callable, got float"),
        ({"scaler": "x"}, "scaler must be a GradScaler or None, got str"),
        ({"chunk_size": 0}, "chunk_size must be an integer > 0, got 0"),
        ({"chunk_size": 2.0}, "chunk_size must be an integer > 0, got 2.0"),
        ({"chunk_size": None}, "chunk_size must be an integer > 0, got None"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GradientCache(**{"model": network(), "loss_fn": MSLoss(), "chunk_size": 7} | kwargs)


X, LABELS = data()


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (X[:0], LABELS[:0], "inputs must have at least one row in a single process, got none"),
        (X, LABELS[1:], r"labels must have the 23 rows of inputs, got shape \(22,\)"),
        (X, LABELS[0], r"labels must have the 23 rows of inputs, got shape \(\)"),
        ((X, X[2:]), LABELS, "inputs must have the same number of rows .*, got 21, 23"),
        ("text", LABELS, "inputs must be a tensor .*, got str"),
        ((X, None), LABELS, "inputs must be a tensor .*, got NoneType"),
        ({"x": X, "y": {}}, LABELS, "inputs must be a tensor .*, got dict"),
        ((), LABELS, "inputs must be a tensor .*, got tuple"),
        (X[0, 0], LABELS, r"inputs must be a tensor .*, got torch\.float64 \(\)"),
    ],
)
def test_bad_inputs(inputs, labels, message):
    model = network()
    with untouched(model), pytest.raises(ValueError, match=message):
        GradientCache(model, MSLoss(), 7)(inputs, labels)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda x: x[:, 0], r"of shape \(6, D\).*, got torch\.float64 \(6,\)"),
        (lambda x: x[1:], r"of shape \(6, D\).*, got torch\.float64 \(5, 5\)"),
        (lambda x: (x, x), r"of shape \(6, D\).*, got tuple"),
        (lambda x: x.long(), r"floating-point .*, got torch\.int64 \(6, 5\)"),
    ],
)
def test_bad_models(of, message):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return of(self.net(x))

    model = Model()
    with untouched(model), pytest.raises(ValueError, match="model must give .*" + message):
        GradientCache(model, MSLoss(), 7)(*data())


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (lambda x, y: x.sum(dim=1), r"loss_fn must give a scalar, got .* \(23,\)"),
        (lambda x, y: 3.0, "loss_fn must give a scalar, got float"),
    ],
)
def test_bad_losses(loss_fn, message):
    model = network()
    with untouched(model), pytest.raises(ValueError, match=message):
        GradientCache(model, loss_fn, 7)(*data())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_random_numbers_of_a_cuda_device():
    inputs, labels = (tensor.cuda() for tensor in data())
    model, reference = network(Draws()).cuda(), network(Draws()).cuda()
    torch.manual_seed(5)
    expected = ordinary(reference, jittered, inputs, labels, chunks=4)
    after = torch.cuda.get_rng_state()
    torch.manual_seed(5)
    close(GradientCache(model, jittered, 7)(inputs, labels).cpu(), expected.cpu(), 1e-10)
    assert torch.cuda.get_rng_state().equal(after)
    same_gradients(model.cpu(), reference.cpu(), 1e-10)


def test_steps_without_a_gradient_are_refused():
    model, x, labels = torch.nn.Linear(4, 3), torch.randn(6, 4), torch.arange(6) // 2
    with torch.no_grad(), pytest.raises(ValueError, match="gradients must be enabled"):
        GradientCache(model, MSLoss(), 2)(x, labels)
    frozen = torch.nn.Linear(4, 3).requires_grad_(False)
    with pytest.raises(ValueError, match="model must have a parameter that requires a gradient"):
        GradientCache(frozen, MSLoss(), 2)(x, labels)
    GradientCache(frozen, MSLoss(), 2)(x.requires_grad_(), labels)  # something before it learns
    assert x.grad.isfinite().all()
    detached = GradientCache(model, lambda e, y: MSLoss()(e, y).detach(), 2)
    with pytest.raises(ValueError, match="loss_fn must give a loss with a gradient"):
        detached(x, labels)
    assert all(p.grad is None for p in model.parameters())
