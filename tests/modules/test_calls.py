"""What modules refuse, made, set or called: a ValueError names the argument, what came and what is
allowed."""

import warnings
from dataclasses import dataclass

import pytest
import torch

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, PairMiner, modules, ms_variant
from pml_gpw.functional import gpw_loss
from pml_gpw.losses import CrossBatchMemory, PairSimilarityLoss, SelfSupervisedLoss
from pml_gpw.mining import DistanceWeightedMining, EasyHardMining, MSMining, PairMarginMining
from pml_gpw.weightings import MultiSimilarity, NTXent, PairWeighting, RowLoss

X, Y = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
PARAMETER = torch.nn.Parameter(torch.tensor(0.1))
NAN, INF = float("nan"), float("inf")
with warnings.catch_warnings():  # torch says that they are new
    warnings.simplefilter("ignore")
    NESTED = torch.nested.nested_tensor([X[:1], X[1:]])


class NoDataclass(PairWeighting):
    def weigh(self, pos, neg):
        return pos.sim, neg.sim


@dataclass(frozen=True)
class WithoutExpand(RowLoss):
    def loss(self, pos, neg):
        return neg.sum((neg.sim - pos.min(pos.sim)).relu())


def message_of(value):
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GPWLoss("ms"), "weighting must be a PairWeighting .*, got 'ms'"),
        (lambda: GPWLoss(NoDataclass()), r"put @dataclass\(frozen=True\) above the class NoData"),
        (
            lambda: GPWLoss(WithoutExpand()),
            "lets values of anchors meet those of pairs .*: use the",
        ),
        (lambda: GPWLoss(NTXent(), miner=3), "miner must not be .* to GPWLoss.* is mining meant"),
        (lambda: MSMiner(epsilom=1), "epsilom must not be given to MSMiner.* is epsilon meant"),
        (
            lambda: modules.MSLoss(epsilom=1),
            "epsilom must not be given to MSLoss.* is epsilon meant",
        ),
        (lambda: MSMiner()(X, None), "labels must be given to mine pairs, got None"),
        (lambda: NTXent(PARAMETER.data), "temperature must be a finite number > 0, got tensor"),
        (lambda: NTXent(PARAMETER), r"temperature must be a number, .* trainable=.'temperature',."),
        (lambda: GPWLoss(MultiSimilarity(), 0.1), "mining must be a PairMining .*, got 0.1"),
        (lambda: MSLoss(epsilon=-1), "epsilon must be a finite number >= 0, got -1"),
        (lambda: MSLoss(alpha=0), "alpha must be a finite number > 0, got 0"),
        (lambda: MSLoss(chunk_size=0), "chunk_size must be an integer > 0, got 0"),
        (lambda: setattr(MSLoss(), "chunk_size", -3), "chunk_size must be an integer > 0, got -3"),
        (lambda: setattr(MSMiner(), "chunk_size", 2.5), "chunk_size must be an integer > 0, got 2"),
        (lambda: setattr(MSLoss(), "chunk_size", True), "chunk_size must be an integer > 0, got T"),
        (lambda: setattr(MSMiner(), "layout", "fast"), "layout must be one of auto, .* got 'fast'"),
        (lambda: setattr(MSLoss(), "layout", "fast"), "layout must be one of auto, .* got 'fast'"),
        (lambda: MSLoss(fused="yes"), "fused must be None, True or False, got 'yes'"),
        (lambda: gpw_loss(X, Y, MultiSimilarity(), fused=0.0), "fused must be None, True or False"),
        (lambda: MSWeightedLoss(beta=-2), "beta must be a finite number > 0, got -2"),
        (lambda: MSWeightedLoss(base=INF), "base must be a finite number, got inf"),
        (lambda: MSMiner(epsilon=-0.1), "epsilon must be a finite number >= 0, got -0.1"),
        (lambda: MSMiner(epsilon=NAN), "epsilon must be a finite number >= 0, got nan"),
        (lambda: PairMiner("ms"), "mining must be a PairMining"),
        (lambda: PairMiner(MSMining(), chunk_size=0), "chunk_size must be an integer > 0"),
        (lambda: EasyHardMining("hardest"), "pos_strategy must be one of easy, .*got 'hardest'"),
        (lambda: EasyHardMining("semihard", "semihard"), "must not both be semihard"),
        (lambda: EasyHardMining("semihard", "all"), "nor semihard beside all"),
        (lambda: EasyHardMining(allowed_pos_range=(1, 0)), "must be .smallest, largest., got"),
        (lambda: EasyHardMining(allowed_neg_range=0.5), "must be None or two finite numbers"),
        (lambda: PairMarginMining(NAN), "pos_margin must be a finite number, got nan"),
        (lambda: DistanceWeightedMining(0), "dim must be an integer > 0, got 0"),
        (lambda: DistanceWeightedMining(4, cutoff=-1), "cutoff must be a finite number > 0"),
        (lambda: ms_variant("SX"), 'must consist of the letters "S", "N", "P", got \'SX\''),
        (lambda: ms_variant(None), "similarities must .*, got None"),
        (lambda: ms_variant("SN", alpha=-1), "alpha must be .*, got -1"),
        (lambda: ms_variant("", beta=-1), "beta must be .*, got -1"),
        (lambda: ms_variant("S", epsilon=-1), "epsilon must be .*, got -1"),
        (lambda: SelfSupervisedLoss(torch.nn.Linear(2, 2)), "loss must take .* got torch.nn.*Lin"),
        (lambda: CrossBatchMemory(MSLoss(), 2.5), "embedding_size must be an integer > 0, got 2.5"),
        (lambda: CrossBatchMemory(MSLoss(), 4, 0), "memory_size must be an integer > 0, got 0"),
        (lambda: CrossBatchMemory(MSLoss(), 4, warm_up=-1), "warm_up must be an integer >= 0, got"),
        (lambda: CrossBatchMemory(MSLoss(), 4, miner="ms"), "miner must be an object that can be"),
    ],
    ids=message_of,
)
def test_what_cannot_be_made_or_set(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def spoiled(value):
    x = X.clone()
    x[2, 0] = value
    return x


CALLS = [
    ((spoiled(NAN), Y), {}, "embeddings must be finite, got NaN or Inf in 1 of 4 .*row 2"),
    ((X[0], Y), {}, r"embeddings must have shape \(N, D\), got \(3,\)"),
    ((X.long(), Y), {}, "embeddings must be floating point, got torch.int64"),
    ((X.to(torch.float8_e4m3fn), Y), {}, "embeddings must be .* bits, got torch.float8_e4m3fn"),
    ((X.to_sparse(), Y), {}, "embeddings must be a dense tensor, got the layout torch.sparse_coo"),
    ((X, Y.to_sparse()), {}, "labels must be a dense tensor, got the layout torch.sparse_coo"),
    ((NESTED, Y), {}, "embeddings must be a dense tensor, got a nested one"),
    ((X, Y), {"ref_emb": X.to_sparse(), "ref_labels": Y}, "ref_emb must be a dense tensor"),
    ((X.tolist(), Y), {}, "embeddings must be a torch.Tensor, got list"),
    ((X, Y[:3]), {}, r"labels must have shape \(4,\), .*got \(3,\)"),
    ((X, Y[:, None]), {}, r"labels must have shape \(4,\), .*got \(4, 1\)"),
    ((X, Y + 0.5), {}, "labels must be integers, got torch.float32"),
    ((X, Y + 2.0**24), {}, "labels must be integers, .*too large"),
    ((X, Y), {"ref_emb": spoiled(NAN), "ref_labels": Y}, "ref_emb must be finite"),
    ((X, Y), {"ref_emb": X.double() * 1e300, "ref_labels": Y}, "ref_emb must be finite"),
    ((X, Y), {"ref_emb": X[:, :2], "ref_labels": Y}, "ref_emb must have the 3 dimensions .*got 2"),
    ((X, Y), {"ref_emb": X, "ref_labels": Y[:2]}, r"ref_labels must have shape \(4,\)"),
    ((X, Y), {"ref_emb": X[:2]}, "ref_labels must be given for 2 references and 4 labels"),
    ((X, None), {}, "labels (or indices_tuple )?must be given"),
]


@pytest.mark.parametrize(
    "module", [MSMiner(), MSWeightedLoss(), MSLoss(), PairSimilarityLoss()], ids=repr
)
@pytest.mark.parametrize(("args", "kwargs", "message"), CALLS, ids=message_of)
def test_calls(module, args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        module(*args, **kwargs)


@pytest.mark.parametrize("loss", [MSWeightedLoss(), PairSimilarityLoss()], ids=repr)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (5, "must be a sequence of index tensors, got int"),
        ({1: 2, 3: 4, 5: 6}, "must be a sequence of index tensors, got dict"),
        ((None,) * 4, "must be a tensor of integers, got NoneType"),
        ((), "must be .* got 0 tensors"),
        ((torch.zeros(2, 2).long(),) * 4, r"must be of one dimension, got \(2, 2\)"),
        ((Y > 0,) * 4, "must be a tensor of integers, got torch.bool"),
        ((Y.to_sparse(),) * 4, "must be a dense tensor, got the layout torch.sparse_coo"),
    ],
    ids=message_of,
)
def test_what_is_no_index_tuple(loss, wrong, message):
    with pytest.raises(ValueError, match=f"indices_tuple {message}"):
        loss(X, Y, wrong)


@pytest.mark.parametrize("module", [MSLoss(), MSMiner()], ids=repr)
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([0, 1, 2, 3], "got list"),
        (torch.tensor([0.0] * 4), r"self_index must be a tensor of integers"),
        (torch.tensor([4] * 4), r"self_index must lie in \[-1, 4\), got 4 to 4"),
        (Y.to_sparse(), "self_index must be a dense tensor, got the layout torch.sparse_coo"),
    ],
)
def test_what_is_no_place_of_copies(module, own, message):
    with pytest.raises(ValueError, match=message):
        module(X, Y, ref_emb=X.flip(0), ref_labels=Y, own=own)
    with pytest.raises(ValueError, match="own must be None beside self_index"):
        module(X, Y, ref_emb=X, self_index=Y, own=Y)


@pytest.mark.filterwarnings("ignore:.*no pairs to weigh")
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.float32])
def test_any_dtype_of_integers_is_a_label(dtype):
    assert MSLoss()(X, Y.to(dtype)) == MSLoss()(X, Y)


def test_what_is_not_refused():
    """Embeddings without dimensions, and as by PML labels of references that are not given."""
    assert torch.isfinite(MSLoss()(X[:, :0], Y))
    assert MSLoss()(X, Y, ref_labels=Y.int()) == MSLoss()(X, Y)
