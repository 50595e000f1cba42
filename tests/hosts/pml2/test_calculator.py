"""RecallCalculator: the values of retrieval_metrics under the contract of PML's calculator."""

import copy
import math
import pickle
import re

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch.utils.data import TensorDataset

from pml_gpw.evaluation import RecallCalculator, retrieval_metrics

from ...evaluation import oracle

PML_METRICS = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
ALL_METRICS = (*PML_METRICS, "mean_average_precision", "mean_reciprocal_rank")
PRECISIONS = ("r_precision", "map_at_r")
L2 = CustomKNN(LpDistance(normalize_embeddings=False))
AVERAGES = ({}, {"return_per_class": True}, {"avg_of_avgs": True})


def parity(first, second):
    return (first % 4 == second % 4).all(-1) if first.ndim > 2 else first % 4 == second % 4


@pytest.fixture
def data():
    """Sixty unit vectors of seven uneven classes without ties."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(1, 61).sqrt().long() * 2
    centres = torch.randn(60, 8, generator=generator)[labels]
    noise = torch.randn(60, 8, generator=generator)
    return torch.nn.functional.normalize(centres + 1.2 * noise), labels


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_values_are_those_of_retrieval_metrics(data, metric, backend):
    calculator = RecallCalculator((1, 2, 10), backend, metric, include=PRECISIONS)
    gallery = data[0][::2] * 3, data[1][::2], data[0][1::2] * 2, data[1][1::2]
    integers = (128 + 100 * data[0]).byte(), data[1]  # with the values that they are as numbers
    for task in (data, gallery, integers):
        got = calculator.get_accuracy(*task)
        assert got == retrieval_metrics(*task, ks=(1, 2, 10), metric=metric)
        assert 0 < got["map_at_r"] < got["r_precision"] < got["recall_at_10"] < 1
        assert calculator.get_curr_metrics() == [*got]
        assert calculator.get_accuracy(*task, include=["map_at_r"]) == {"map_at_r": got["map_at_r"]}


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_values_of_a_comparison_of_labels(data, metric):
    query, labels = data[0] * torch.linspace(0.5, 2, 60)[:, None], data[1]
    options = {"ks": (1, 2, 10), "metric": metric}
    calculator = RecallCalculator(**options, include=PRECISIONS, label_comparison_fn=parity)
    for task in ((query, labels), (query[:30], labels[:30], query[30:], labels[30:])):
        got = calculator.get_accuracy(*task)
        of_residues = [t if t.is_floating_point() else t % 4 for t in task]
        wanted = retrieval_metrics(*of_residues, **options)
        assert got == {name: pytest.approx(value, abs=1e-12) for name, value in wanted.items()}
        assert calculator.get_curr_metrics() == [*got]


def test_gallery_that_includes_the_queries(data):
    query, labels = data
    calculator = RecallCalculator(ks=(1, 5), include=PRECISIONS)
    everything = calculator.get_accuracy(query, labels, query, labels, ref_includes_query=True)
    assert everything == calculator.get_accuracy(query, labels)
    own_counts = calculator.get_accuracy(query, labels, query, labels)
    assert own_counts["recall_at_1"] == own_counts["recall_at_5"] == 1
    assert own_counts["map_at_r"] > everything["map_at_r"]
    first = calculator.get_accuracy(query[:20], labels[:20], query, labels, True)
    rows = oracle.rows(query)
    order = [oracle.nearest(row, rows, "cosine", i) for i, row in enumerate(rows[:20])]
    for k in (1, 5):
        hits = [bool((labels[near[:k]] == labels[i]).any()) for i, near in enumerate(order)]
        assert first[f"recall_at_{k}"] == sum(hits) / 20
    for name, of in zip(PRECISIONS, oracle.precisions(query, labels), strict=True):
        assert first[name] == pytest.approx(sum(of[:20]) / 20, abs=1e-14)


@pytest.mark.parametrize("gallery", [False, True], ids=["self", "gallery"])
@pytest.mark.parametrize("averages", AVERAGES, ids=str)
def test_pml_metrics_beside_recall(data, gallery, averages):
    query, labels = data
    task = (query[:30], labels[:30], query, labels) if gallery else data
    theirs = AccuracyCalculator(ALL_METRICS, knn_func=L2, device=torch.device("cpu"), **averages)
    wanted = theirs.get_accuracy(*task)
    names = (*ALL_METRICS, "map_at_r")
    got = RecallCalculator((1, 4), include=names, **averages).get_accuracy(*task)
    assert got.keys() == {*names, "recall_at_1", "recall_at_4"}
    of_same = {"map_at_r": PML_METRICS[2], "recall_at_1": PML_METRICS[0]}
    for name in got.keys() - {"recall_at_4"}:
        assert got[name] == pytest.approx(wanted[of_same.get(name, name)], abs=1e-12), name


def test_per_class_by_hand():
    query = torch.tensor([[0.0], [1.0], [10.0], [11.0], [12.5], [30.0]])
    labels = torch.tensor([7, 3, 3, 9, 9, 5])
    # 1 is nearest to 0 and 10 to 11; 11 to 10; 12.5 to 11; no other has the labels 7 and 5.
    wanted = {"return_per_class": ([0.0, 0.5], [0.5, 1.0]), "avg_of_avgs": (0.25, 0.75)}
    for average, recalls in wanted.items():
        calculator = RecallCalculator(ks=(1, 2), metric="l2", **{average: True})
        with pytest.warns(UserWarning, match="2 of 6 queries"):
            found = calculator.get_accuracy(query, labels)
        assert found == {"recall_at_1": recalls[0], "recall_at_2": recalls[1]}


@pytest.mark.parametrize("averages", AVERAGES[:2], ids=str)
@pytest.mark.parametrize("options", [{}, {"include": PRECISIONS}, {"label_comparison_fn": parity}])
def test_no_query_has_a_relevant_reference(options, averages):
    said = ".* R-precision and MAP@R are nan" if "include" in options else ""
    calculator = RecallCalculator(ks=(1,), **options, **averages)
    with pytest.warns(UserWarning, match=f"3 of 3 queries{said}"):
        got = calculator.get_accuracy(torch.eye(3), torch.arange(3))
    for value in got.values():
        assert not averages or len(value) == 3
        assert all(map(math.isnan, value if averages else [value]))


def test_some_queries_have_no_relevant_reference_by_comparison(data):
    query, changed = data[0], data[1].clone()
    changed[0] = 101  # alone in its residue of 4 if the others are even
    with pytest.warns(UserWarning, match="1 of 60 queries") as caught:
        RecallCalculator(ks=(1, 2), label_comparison_fn=parity).get_accuracy(query, changed)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["recall_at_1", "recall_at_2"]),
        ({"exclude": ("recall_at_2",)}, ["recall_at_1"]),
        ({"include": ("recall_at_2",)}, ["recall_at_2"]),
        ({"include": ["r_precision"]}, ["r_precision", "recall_at_1", "recall_at_2"]),
        ({"include": ("r_precision", "recall_at_1")}, ["r_precision", "recall_at_1"]),
        ({"include": ("r_precision",), "exclude": ("recall_at_1", "r_precision")}, ["recall_at_2"]),
    ],
)
def test_choice_of_metrics(data, options, names):
    calculator = RecallCalculator(ks=(1, 2), **options)
    assert sorted(calculator.get_curr_metrics()) == names
    assert sorted(calculator.get_accuracy(*data)) == names
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)  # a column of SQL


def test_choice_of_metrics_at_the_call(data):
    calculator = RecallCalculator(ks=(1, 2), include=("r_precision", "recall_at_1", "recall_at_2"))
    assert [*calculator.get_accuracy(*data, include=("recall_at_2",))] == ["recall_at_2"]
    assert calculator.get_curr_metrics() == ["recall_at_2"]
    left = calculator.get_accuracy(*data, exclude=["recall_at_2", "r_precision"])
    assert [*left] == ["recall_at_1"]
    assert len(calculator.get_accuracy(*data)) == 3


def test_labels_beyond_float32():
    big = 2**24
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([big, big + 1, big, big + 1])
    got = RecallCalculator(ks=(1, 3), include=("precision_at_1", "recall_at_1", "recall_at_3"))
    wanted = {"recall_at_1": 0.0, "recall_at_3": 1.0, "precision_at_1": 0.0}
    assert got.get_accuracy(query, labels) == wanted


@pytest.mark.parametrize(
    ("include", "options", "asked"),
    [
        ((), {}, []),  # Recall@K alone has no use for lists
        (("precision_at_1",), {}, [1]),
        (("r_precision",), {}, [12]),  # the largest class has 13
        (("mean_average_precision_at_r", "precision_at_1"), {}, [12]),
        (("mean_reciprocal_rank",), {}, [59]),
        (("mean_average_precision",), {"k": 7}, [7]),
        (("mean_average_precision",), {"k": 700}, [59]),
        (("NMI",), {}, []),
    ],
)
def test_no_more_neighbours_than_needed(data, include, options, asked):
    if include == ("NMI",):
        pytest.importorskip("faiss")
    ks = []

    def search(query, k, *others):
        ks.append(k)
        return L2(query, k, *others)

    got = RecallCalculator(include=include, knn_func=search, **options).get_accuracy(*data)
    assert ks == asked
    assert all(0 < value < 1 for value in got.values())
    if "r_precision" in include:  # the search of one's own finds what the metrics find
        wanted = retrieval_metrics(*data, ks=(1,))["r_precision"]
        assert got["r_precision"] == pytest.approx(wanted, abs=1e-12)


def test_copies_arrays_and_a_named_device(data):
    options = {"ks": (1, 3), "metric": "l2", "include": ("r_precision",), "k": 20}
    calculator = RecallCalculator(**options)
    wanted, arrays = calculator.get_accuracy(*data), [t.numpy() for t in data]
    twins = [RecallCalculator(**options, device=device) for device in ("cpu", torch.device("cpu"))]
    for twin in (*twins, copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        assert twin.get_accuracy(*data) == twin.get_accuracy(*arrays) == wanted
        assert twin.get_curr_metrics() == calculator.get_curr_metrics()


COMPARED = {"ks": (1, 5), "label_comparison_fn": parity}
MAP = {"k": 3, "include": ("map_at_r",), "exclude": ("recall_at_1",), **COMPARED, "ks": (1,)}
BEYOND = torch.tensor([2**24, 2**24 + 1] * 30)


OPTIONS = [
    ({"colour": "red"}, "unexpected keyword argument 'colour'"),
    ({"include": "recall_at_1"}, "include must be a tuple or list, got str"),
    ({"include": ("recall_at_3",)}, "include must be names out of .*recall_at_1'"),
    ({"include": [["recall_at_1"]]}, r"include must be .* got \[\['recall_at_1'"),
    ({"exclude": "recall_at_1"}, "exclude must be a tuple or list, got str"),
    ({"exclude": ("recall_at_3",)}, "exclude must be names out of .*recall_at_3'"),
    ({"device": "gpu zero"}, "device must be None, .* name, got 'gpu zero'"),
    ({"label_comparison_fn": "equal"}, "label_comparison_fn must be an object"),
    ({"kmeans_func": 3}, "kmeans_func must be an object that can be called, got 3"),
    ({"knn_func": "faiss"}, "knn_func must be an object that can .* got 'faiss'"),
    ({"knn_func": CustomKNN}, "knn_func must be an object, got the class CustomK"),
]
CALLS = [
    ({}, "reference must begin with the rows of query", lambda x, y: (x, y, x.flip(0), y, True)),
    ({}, "include must be names out", lambda x, y: (x, y, None, None, False, ("map_at_r",))),
    ({}, "exclude must be names", lambda x, y: (x, y, None, None, False, (), ("map_at_r",))),
    (COMPARED, "query must be finite", lambda x, y: (x * torch.nan, y)),
    (COMPARED, "reference must be finite", lambda x, y: (x, y, x * torch.nan, y)),
    (COMPARED, r"ks must be at most 4, .* got \[5\]", lambda x, y: (x[:5], y[:5])),
    (COMPARED, "must come together, got reference alone", lambda x, y: (x, y, x)),
    (COMPARED | {"k": 3}, "k must be at least the largest of ks, 5, got", None),
    (MAP, r"k must be at least \d+, .* for map_at_r, got 3", None),
]


@pytest.mark.parametrize(("options", "said", "arguments"), [*((*o, None) for o in OPTIONS), *CALLS])
def test_what_is_refused(data, options, said, arguments):
    task = data if arguments is None else arguments(*data)
    with pytest.raises((ValueError, TypeError), match=said):
        RecallCalculator(**options).get_accuracy(*task)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (BEYOND, r"query_labels must be within ±2\*\*24 .* got 16777217"),
        (BEYOND[:, None], "got 16777217"),
        (BEYOND + 2**62, "got 46"),
        (torch.full((60,), torch.nan), "query_labels must be real numbers, got torch.float32"),
        (torch.ones(59), r"query_labels must be a tensor of 60 rows .* got \(59,\)"),
        ([0] * 60, "query_labels must be a tensor of 60 rows .* got list"),
        (None, "query_labels must be a Tensor"),
    ],
)
def test_labels_that_cannot_be_compared_in_float32(data, labels, said):
    calculator = RecallCalculator(**COMPARED)
    with pytest.raises(ValueError, match=said):
        calculator.get_accuracy(data[0], labels)
    said = "got list" if labels is None else said.replace("query_", "reference_")
    with pytest.raises(ValueError, match=said):
        calculator.get_accuracy(*data, data[0], [] if labels is None else labels)


def random_dataset(seed, size=24):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(size, 4, generator=generator), torch.arange(size) // 3)


VAL, TRAIN = random_dataset(0), random_dataset(1)
BOTH = tuple(map(torch.cat, zip(VAL.tensors, TRAIN.tensors, strict=True)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("split", "task", "includes"),
    [
        (("val", ["val"]), VAL.tensors, False),
        (("train", ["val"]), (*TRAIN.tensors, *VAL.tensors), False),
        (("val", ["train", "val"]), (*VAL.tensors, *BOTH), True),
    ],
)
def test_tester_writes_the_columns_of_a_comparison(split, task, includes):
    calculator = RecallCalculator(ks=(1, 2), include=(*PRECISIONS, "recall_at_1", "recall_at_2"))
    tester = GlobalEmbeddingSpaceTester(accuracy_calculator=calculator, dataloader_num_workers=0)
    sets = {"val": VAL, "train": TRAIN}
    got = tester.test(sets, 3, torch.nn.Identity(), splits_to_eval=[split])[split[0]]
    wanted = calculator.get_accuracy(*task, *([True] if includes else []))
    assert got == {"epoch": 3} | {f"{name}_level0": value for name, value in wanted.items()}
