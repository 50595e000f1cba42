"""RecallCalculator: the values of recall_at_k under the contract of PML's AccuracyCalculator."""

import copy
import math
import pickle
import re

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from pml_gpw.evaluation import RecallCalculator, recall_at_k

from . import oracle

PML_METRICS = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
ALL_METRICS = (*PML_METRICS, "mean_average_precision", "mean_reciprocal_rank")
L2 = CustomKNN(LpDistance(normalize_embeddings=False))


@pytest.fixture
def data():
    """Sixty unit vectors of seven uneven classes without ties."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(1, 61).sqrt().long() * 2
    centres = torch.randn(60, 8, generator=generator)[labels]
    noise = torch.randn(60, 8, generator=generator)
    return torch.nn.functional.normalize(centres + 1.2 * noise), labels


def named(recalls):
    return {f"recall_at_{k}": value for k, value in recalls.items()}


def test_values_are_those_of_recall_at_k(data):
    calculator = RecallCalculator(ks=(1, 2, 10))
    got = calculator.get_accuracy(*data)
    assert got == named(recall_at_k(*data, ks=(1, 2, 10)))
    assert 0 < got["recall_at_1"] < got["recall_at_10"] < 1
    assert calculator.get_curr_metrics() == [*got]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_gallery(data, metric):
    task = data[0][::2] * 3, data[1][::2], data[0][1::2] * 2, data[1][1::2]
    got = RecallCalculator(metric=metric).get_accuracy(*task)
    assert got == named(recall_at_k(*task, metric=metric))
    assert 0 < got["recall_at_1"] < got["recall_at_8"]


def test_gallery_that_includes_the_queries(data):
    query, labels = data
    calculator = RecallCalculator(ks=(1, 5))
    everything = calculator.get_accuracy(query, labels, query, labels, ref_includes_query=True)
    assert everything == calculator.get_accuracy(query, labels)
    own_counts = calculator.get_accuracy(query, labels, query, labels)
    assert own_counts == {"recall_at_1": 1.0, "recall_at_5": 1.0}
    first = calculator.get_accuracy(query[:20], labels[:20], query, labels, True)
    order = [
        oracle.nearest(row, oracle.rows(query), "cosine", i)
        for i, row in enumerate(oracle.rows(query[:20]))
    ]
    for k in (1, 5):
        hits = [bool((labels[near[:k]] == labels[i]).any()) for i, near in enumerate(order)]
        assert first[f"recall_at_{k}"] == sum(hits) / 20


def test_queries_elsewhere_in_the_gallery_are_refused(data):
    query, labels = data
    with pytest.raises(ValueError, match="reference must begin with the rows of query"):
        RecallCalculator().get_accuracy(query[:20], labels[:20], query.flip(0), labels, True)
    with pytest.raises(ValueError, match="reference must begin with the rows of query"):
        RecallCalculator().get_accuracy(query, labels, query[:20], labels[:20], True)


@pytest.mark.parametrize("gallery", [False, True], ids=["self", "gallery"])
@pytest.mark.parametrize("averages", [{}, {"return_per_class": True}, {"avg_of_avgs": True}])
def test_pml_metrics_beside_recall(data, gallery, averages):
    query, labels = data
    task = (query[:30], labels[:30], query, labels) if gallery else data
    wanted = AccuracyCalculator(
        include=ALL_METRICS, knn_func=L2, device=torch.device("cpu"), **averages
    )
    wanted = wanted.get_accuracy(*task)
    got = RecallCalculator(ks=(1, 4), include=ALL_METRICS, **averages).get_accuracy(*task)
    assert got.keys() == {*ALL_METRICS, "recall_at_1", "recall_at_4"}
    for name in ALL_METRICS:
        assert got[name] == pytest.approx(wanted[name], abs=1e-12), name
    assert got["recall_at_1"] == pytest.approx(wanted["precision_at_1"], abs=1e-12)


def test_mean_reciprocal_rank_alone(data):
    got = RecallCalculator(include=["mean_reciprocal_rank"], exclude=["recall_at_1"], ks=(1,))
    assert 0 < got.get_accuracy(*data)["mean_reciprocal_rank"] < 1


def test_per_class_by_hand():
    query = torch.tensor([[0.0], [1.0], [10.0], [11.0], [12.5], [30.0]])
    labels = torch.tensor([7, 3, 3, 9, 9, 5])
    # 1 is nearest to 0 and 10 to 11; 11 to 10; 12.5 to 11; the labels 7 and 5 are lone.
    options = {"ks": (1, 2), "metric": "l2"}
    with pytest.warns(UserWarning, match="2 of 6 queries"):
        per_class = RecallCalculator(return_per_class=True, **options).get_accuracy(query, labels)
    assert per_class == {"recall_at_1": [0.0, 0.5], "recall_at_2": [0.5, 1.0]}
    with pytest.warns(UserWarning, match="2 of 6 queries"):
        average = RecallCalculator(avg_of_avgs=True, **options).get_accuracy(query, labels)
    assert average == {"recall_at_1": 0.25, "recall_at_2": 0.75}


def test_without_any_answerable_query():
    query, labels = torch.eye(3), torch.arange(3)
    with pytest.warns(UserWarning, match="3 of 3 queries"):
        got = RecallCalculator(ks=(1,)).get_accuracy(query, labels)
    assert math.isnan(got["recall_at_1"])
    with pytest.warns(UserWarning, match="3 of 3 queries"):
        got = RecallCalculator(ks=(1,), return_per_class=True).get_accuracy(query, labels)
    assert len(got["recall_at_1"]) == 3
    assert all(map(math.isnan, got["recall_at_1"]))


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


def test_choice_of_metrics_at_the_call(data):
    calculator = RecallCalculator(ks=(1, 2), include=("r_precision",))
    assert [*calculator.get_accuracy(*data, include=("recall_at_2",))] == ["recall_at_2"]
    assert calculator.get_curr_metrics() == ["recall_at_2"]
    left = calculator.get_accuracy(*data, exclude=["recall_at_2", "r_precision"])
    assert [*left] == ["recall_at_1"]
    assert len(calculator.get_accuracy(*data)) == 3


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_unknown_names_are_refused(data, argument):
    message = f"{argument} must be names out of .*'recall_at_1'.*, got .*'recall_at_3'"
    with pytest.raises(ValueError, match=message):
        RecallCalculator(ks=(1, 2), **{argument: ("recall_at_3",)})
    calculator = RecallCalculator(ks=(1, 2))
    for name in ("recall_at_3", "r_precision"):  # the second was not chosen at construction
        with pytest.raises(ValueError, match=f"{argument} must be names out of .*{name}"):
            calculator.get_accuracy(*data, **{argument: (name,)})
    with pytest.raises(TypeError, match=f"{argument} must be a tuple or list, got str"):
        RecallCalculator(**{argument: "recall_at_1"})


def test_unknown_arguments_are_pml_s_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        RecallCalculator(colour="red")


def test_names_are_sql_columns():
    names = RecallCalculator(ks=(1, 10, 1000)).get_curr_metrics()
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


def test_labels_beyond_float32():
    big = 2**24
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([big, big + 1, big, big + 1])
    got = RecallCalculator(ks=(1, 3), include=("precision_at_1",)).get_accuracy(query, labels)
    assert got == {"recall_at_1": 0.0, "recall_at_3": 1.0, "precision_at_1": 0.0}


class Counting:
    """A search that notes how many neighbours are asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, query, k, reference, ref_includes_query=False):
        self.asked.append(k)
        return L2(query, k, reference, ref_includes_query)


@pytest.mark.parametrize(
    ("include", "options", "k"),
    [
        (("precision_at_1",), {}, 1),
        (("r_precision",), {}, 12),  # the largest class has 13
        (("mean_average_precision_at_r", "precision_at_1"), {}, 12),
        (("mean_average_precision", "r_precision"), {}, 59),
        (("mean_reciprocal_rank",), {}, 59),
        (("mean_average_precision",), {"k": 7}, 7),
        (("mean_average_precision",), {"k": 700}, 59),
        (("r_precision",), {"k": "max_bin_count"}, 12),
    ],
)
def test_no_more_neighbours_than_needed(data, include, options, k):
    search = Counting()
    RecallCalculator(include=include, knn_func=search, **options).get_accuracy(*data)
    assert search.asked == [k]
    RecallCalculator(knn_func=search).get_accuracy(*data)
    assert search.asked == [k]  # Recall@K alone has no use for lists


def parity(first, second):
    return (first % 4 == second % 4).all(-1) if first.ndim > 2 else first % 4 == second % 4


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_custom_comparison_of_labels(data, metric):
    query, labels = data
    query = query * torch.linspace(0.5, 2, 60)[:, None]
    calculator = RecallCalculator(ks=(1, 2, 10), metric=metric, label_comparison_fn=parity)
    got = calculator.get_accuracy(query, labels)
    assert got == named(recall_at_k(query, labels % 4, ks=(1, 2, 10), metric=metric))
    assert 0 < got["recall_at_1"] < 1
    assert calculator.get_curr_metrics() == [*got]
    gallery = calculator.get_accuracy(query[:30], labels[:30], query[30:], labels[30:])
    split = query[:30], labels[:30] % 4, query[30:], labels[30:] % 4
    assert gallery == named(recall_at_k(*split, ks=(1, 2, 10), metric=metric))


def test_custom_comparison_has_the_same_checks(data):
    query, labels = data
    calculator = RecallCalculator(ks=(1, 59), label_comparison_fn=parity)
    with pytest.raises(ValueError, match="query must be finite"):
        calculator.get_accuracy(query * torch.nan, labels)
    with pytest.raises(ValueError, match="reference must be finite"):
        calculator.get_accuracy(query, labels, query * torch.nan, labels)
    with pytest.raises(ValueError, match=r"ks must be at most 29, .* got \[59\]"):
        calculator.get_accuracy(query[:30], labels[:30])
    short = RecallCalculator(ks=(1, 5), k=3, label_comparison_fn=parity)
    with pytest.raises(ValueError, match="k must be at least the largest of ks, 5, got 3"):
        short.get_accuracy(*data)
    lone = labels.clone()
    lone[0] = 101  # alone in its residue of 4 if the others are even
    with pytest.warns(UserWarning, match="1 of 60 queries") as caught:
        RecallCalculator(ks=(1, 2), label_comparison_fn=parity).get_accuracy(query, lone)
    assert len(caught) == 1


def test_custom_comparison_per_class_and_without_hits():
    query, labels = torch.eye(3), torch.arange(3)
    for averages, length in (({}, None), ({"return_per_class": True}, 3)):
        calculator = RecallCalculator(ks=(1,), label_comparison_fn=parity, **averages)
        with pytest.warns(UserWarning, match="3 of 3"):
            value = calculator.get_accuracy(query, labels)["recall_at_1"]
        assert math.isnan(value) if length is None else len(value) == length


def test_pickle_and_copy(data):
    calculator = RecallCalculator(ks=(1, 3), metric="l2", include=("r_precision",), k=20)
    wanted = calculator.get_accuracy(*data)
    for twin in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
        assert twin.get_accuracy(*data) == wanted
        assert twin.get_curr_metrics() == calculator.get_curr_metrics()


def test_arrays_and_a_named_device(data):
    query, labels = data
    wanted = RecallCalculator().get_accuracy(query, labels)
    for device in (None, "cpu", torch.device("cpu")):
        got = RecallCalculator(device=device).get_accuracy(query.numpy(), labels.numpy())
        assert got == wanted


def test_cluster_metrics_need_no_neighbours(data):
    pytest.importorskip("faiss")
    search = Counting()
    got = RecallCalculator(ks=(1,), include=("NMI",), knn_func=search).get_accuracy(*data)
    assert 0 < got["NMI"] < 1
    assert search.asked == []
