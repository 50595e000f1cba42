"""The arguments of a call: a ValueError names the argument, what came and what is allowed."""

import warnings

import pytest
import torch

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import PairSimilarityLoss

X, Y = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
NAN, INF = float("nan"), float("inf")
with warnings.catch_warnings():  # torch says that they are new
    warnings.simplefilter("ignore")
    NESTED = torch.nested.nested_tensor([X[:1], X[1:]])


def spoiled(value):
    x = X.clone()
    x[2, 0] = value
    return x


CALLS = [
    ((spoiled(NAN), Y), {}, "embeddings must be finite, got NaN or Inf in 1 of 4 .*row 2"),
    ((spoiled(INF), Y), {}, "embeddings must be finite"),
    ((X[0], Y), {}, r"embeddings must have shape \(N, D\), got \(3,\)"),
    ((X.long(), Y), {}, "embeddings must be floating point, got torch.int64"),
    ((X.to(torch.float8_e4m3fn), Y), {}, "embeddings must be .* bits, got torch.float8_e4m3fn"),
    ((X.to(torch.complex64), Y), {}, "embeddings must be floating point, got torch.complex64"),
    ((X.to_sparse(), Y), {}, "embeddings must be a dense tensor, got the layout torch.sparse_coo"),
    ((X, Y.to_sparse()), {}, "labels must be a dense tensor, got the layout torch.sparse_coo"),
    ((NESTED, Y), {}, "embeddings must be a dense tensor, got a nested one"),
    ((X, NESTED), {}, "labels must be a dense tensor, got a nested one"),
    ((X, Y.to(torch.float8_e4m3fn)), {}, "labels must be integers, got torch.float8_e4m3fn"),
    ((X, Y), {"ref_emb": X.to_sparse(), "ref_labels": Y}, "ref_emb must be a dense tensor"),
    ((X.tolist(), Y), {}, "embeddings must be a torch.Tensor, got list"),
    ((X, Y[:3]), {}, r"labels must have shape \(4,\), .*got \(3,\)"),
    ((X, Y[:, None]), {}, r"labels must have shape \(4,\), .*got \(4, 1\)"),
    ((X, Y.tolist()), {}, "labels must be a torch.Tensor, got list"),
    ((X, Y + 0.5), {}, "labels must be integers, got torch.float32"),
    ((X, Y + 2.0**24), {}, "labels must be integers, .*too large"),
    ((X, Y), {"ref_emb": spoiled(NAN), "ref_labels": Y}, "ref_emb must be finite"),
    ((X, Y), {"ref_emb": X[:, :2], "ref_labels": Y}, "ref_emb must have the 3 dimensions .*got 2"),
    ((X, Y), {"ref_emb": X, "ref_labels": Y[:2]}, r"ref_labels must have shape \(4,\)"),
    ((X, Y), {"ref_emb": X[:2]}, "ref_labels must be given for 2 references and 4 labels"),
]


@pytest.mark.parametrize(
    "module", [MSMiner(), MSWeightedLoss(), MSLoss(), PairSimilarityLoss()], ids=repr
)
@pytest.mark.parametrize(("args", "kwargs", "message"), CALLS, ids=[m for *_, m in CALLS])
def test_calls(module, args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        module(*args, **kwargs)


@pytest.mark.parametrize("loss", [MSWeightedLoss(), PairSimilarityLoss()], ids=repr)
def test_what_is_no_index_tuple(loss):
    two_dimensional = (torch.zeros(2, 2).long(),) * 4
    for wrong, message in (
        (5, "must be a sequence of index tensors, got int"),
        ("abcd", "must be a sequence of index tensors, got str"),
        ({1: 2, 3: 4, 5: 6}, "must be a sequence of index tensors, got dict"),
        ((None,) * 4, "must be a tensor of integers, got NoneType"),
        ((), "must be .* got 0 tensors"),
        (two_dimensional, r"must be of one dimension, got \(2, 2\)"),
        ((Y > 0,) * 4, "must be a tensor of integers, got torch.bool"),
        ((Y.to_sparse(),) * 4, "must be a dense tensor, got the layout torch.sparse_coo"),
    ):
        with pytest.raises(ValueError, match=f"indices_tuple {message}"):
            loss(X, Y, wrong)


@pytest.mark.parametrize("loss", [MSWeightedLoss(), PairSimilarityLoss()], ids=repr)
def test_losses_need_labels_or_a_tuple(loss):
    with pytest.raises(ValueError, match="labels or indices_tuple must be given"):
        loss(X)


@pytest.mark.filterwarnings("ignore:.*no pairs to weigh")
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.float32])
def test_any_dtype_of_integers_is_a_label(dtype):
    assert MSLoss()(X, Y.to(dtype)) == MSLoss()(X, Y)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([0, 1, 2, 3], "got list"),
        (torch.tensor([0.0] * 4), r"self_index must be a tensor of integers"),
        (torch.tensor([True] * 4), r"self_index must be a tensor of integers"),
        (torch.tensor([4] * 4), r"self_index must lie in \[-1, 4\), got 4 to 4"),
        (Y.to_sparse(), "self_index must be a dense tensor, got the layout torch.sparse_coo"),
    ],
)
def test_bad_own(own, message):
    for module in (MSLoss(), MSMiner()):
        with pytest.raises(ValueError, match=message):
            module(X, Y, ref_emb=X.flip(0), ref_labels=Y, own=own)


def test_references_that_do_not_fit_the_dtype_of_the_anchors():
    far = X.double() * 1e300
    with pytest.raises(ValueError, match="ref_emb must be finite"):
        MSLoss()(X, Y, ref_emb=far, ref_labels=Y)


def test_embeddings_without_dimensions():
    assert torch.isfinite(MSLoss()(X[:, :0], Y))
