"""RecallCalculator: the values of retrieval_metrics under the contract of PML's AccuracyCalculator.

The last tests run it in PML's tester, trainer and record keeper, all of them real.
"""

import copy
import math
import pickle
import re
import warnings

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils import logging_presets
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch.utils.data import TensorDataset

from pml_gpw.evaluation import RecallCalculator, recall_at_k, retrieval_metrics

from ...evaluation import oracle

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


@pytest.mark.parametrize("convert", [torch.Tensor.long, torch.Tensor.byte, lambda x: x.numpy()])
def test_embeddings_of_integers(data, convert):
    """They are taken, as by PML's calculator, with the values that they have as numbers."""
    x, labels = (128 + 100 * data[0]).long(), data[1]
    names = ("recall_at_1", *PML_METRICS)
    calculator = RecallCalculator(ks=(1,), include=names, metric="l2")
    got = calculator.get_accuracy(convert(x), labels, convert(x)[:40], labels[:40])
    assert got == calculator.get_accuracy(x.double(), labels, x.double()[:40], labels[:40])
    theirs = AccuracyCalculator(include=PML_METRICS, knn_func=L2, device=torch.device("cpu"))
    expected = theirs.get_accuracy(convert(x), labels, convert(x)[:40], labels[:40])
    assert got["precision_at_1"] == pytest.approx(expected["precision_at_1"])


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


PRECISIONS = ("r_precision", "map_at_r")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_values_are_those_of_retrieval_metrics(data, metric, backend):
    calculator = RecallCalculator((1, 10), backend, metric, include=PRECISIONS)
    gallery = data[0][::2] * 3, data[1][::2], data[0][1::2] * 2, data[1][1::2]
    for task in (data, gallery):
        got = calculator.get_accuracy(*task)
        assert got == retrieval_metrics(*task, ks=(1, 10), metric=metric)
        assert 0 < got["map_at_r"] < got["r_precision"] < 1
        assert calculator.get_accuracy(*task, include=["map_at_r"]) == {"map_at_r": got["map_at_r"]}


def test_precisions_decide_ties_by_index():
    query, labels = torch.ones(40, 3), torch.arange(40) % 4
    got = RecallCalculator(include=PRECISIONS).get_accuracy(query, labels)
    wanted = oracle.retrieval_metrics(query, labels, ks=(1,))
    for name in PRECISIONS:
        assert got[name] == pytest.approx(wanted[name], abs=1e-14)


def test_precisions_where_the_gallery_begins_with_the_queries(data):
    query, labels = data
    calculator = RecallCalculator(include=PRECISIONS)
    everything = calculator.get_accuracy(query, labels, query, labels, ref_includes_query=True)
    assert everything == calculator.get_accuracy(query, labels)
    own_counts = calculator.get_accuracy(query, labels, query, labels)
    assert own_counts["map_at_r"] > everything["map_at_r"]
    first = calculator.get_accuracy(query[:20], labels[:20], query, labels, True)
    found = oracle.precisions(query, labels)
    for name, of in zip(PRECISIONS, found, strict=True):
        assert first[name] == pytest.approx(sum(of[:20]) / 20, abs=1e-14)


@pytest.mark.parametrize("averages", [{}, {"return_per_class": True}, {"avg_of_avgs": True}])
def test_map_at_r_is_pml_s_where_that_is_exact(data, averages):
    names = ("r_precision", "mean_average_precision_at_r")
    wanted = AccuracyCalculator(
        include=names, knn_func=L2, device=torch.device("cpu"), **averages
    ).get_accuracy(*data)
    got = RecallCalculator(include=PRECISIONS, **averages).get_accuracy(*data)
    assert got["map_at_r"] == pytest.approx(wanted["mean_average_precision_at_r"], abs=1e-12)
    assert got["r_precision"] == pytest.approx(wanted["r_precision"], abs=1e-12)


def test_precisions_without_a_relevant_reference():
    query, labels = torch.eye(3), torch.arange(3)
    for averages, length in (({}, None), ({"return_per_class": True}, 3)):
        calculator = RecallCalculator(include=PRECISIONS, ks=(1,), **averages)
        with pytest.warns(UserWarning, match="3 of 3 queries.* R-precision and MAP@R are nan"):
            got = calculator.get_accuracy(query, labels)
        for value in got.values():
            assert math.isnan(value) if length is None else all(map(math.isnan, value))


def test_precisions_of_a_comparison_of_labels(data):
    query, labels = data
    calculator = RecallCalculator(ks=(1,), include=PRECISIONS, label_comparison_fn=parity)
    got = calculator.get_accuracy(query, labels)
    wanted = retrieval_metrics(query, labels % 4, ks=(1,))
    assert got == {name: pytest.approx(value, abs=1e-12) for name, value in wanted.items()}
    short = RecallCalculator(
        ks=(1,), k=3, include=("map_at_r",), exclude=("recall_at_1",), label_comparison_fn=parity
    )
    with pytest.raises(ValueError, match=r"k must be at least \d+, .* for map_at_r, got 3"):
        short.get_accuracy(*data)


def test_r_precision_of_a_search_of_one_s_own(data):
    search = Counting()
    calculator = RecallCalculator(ks=(1,), include=PRECISIONS, knn_func=search)
    got = calculator.get_accuracy(*data)
    assert search.asked == [12]
    wanted = retrieval_metrics(*data, ks=(1,))
    assert got["map_at_r"] == wanted["map_at_r"]
    assert got["r_precision"] == pytest.approx(wanted["r_precision"], abs=1e-12)


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
    # 1 is nearest to 0 and 10 to 11; 11 to 10; 12.5 to 11; no other has the labels 7 and 5.
    options = {"ks": (1, 2), "metric": "l2"}
    with pytest.warns(UserWarning, match="2 of 6 queries"):
        per_class = RecallCalculator(return_per_class=True, **options).get_accuracy(query, labels)
    assert per_class == {"recall_at_1": [0.0, 0.5], "recall_at_2": [0.5, 1.0]}
    with pytest.warns(UserWarning, match="2 of 6 queries"):
        average = RecallCalculator(avg_of_avgs=True, **options).get_accuracy(query, labels)
    assert average == {"recall_at_1": 0.25, "recall_at_2": 0.75}


def test_no_query_has_a_relevant_reference():
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
    names = RecallCalculator(ks=(1, 10, 1000), include=PRECISIONS).get_curr_metrics()
    assert {*PRECISIONS} < {*names}
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
    changed = labels.clone()
    changed[0] = 101  # alone in its residue of 4 if the others are even
    with pytest.warns(UserWarning, match="1 of 60 queries") as caught:
        RecallCalculator(ks=(1, 2), label_comparison_fn=parity).get_accuracy(query, changed)
    assert len(caught) == 1


BEYOND = torch.tensor([2**24, 2**24 + 1] * 30)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (BEYOND, r"query_labels must be within ±2\*\*24 .* got 16777217"),
        (-BEYOND, "got -16777217"),
        (BEYOND.double(), "got 16777217"),
        (BEYOND[:, None], "got 16777217"),
        (BEYOND + 2**62, "got 46"),
        (torch.full((60,), torch.nan), "query_labels must be real numbers, got torch.float32"),
        (torch.ones(60, dtype=torch.complex64), "query_labels must be real numbers"),
        (torch.ones(59), r"query_labels must be a tensor of 60 rows .* got \(59,\)"),
        (torch.tensor(1), r"query_labels must be a tensor of 60 rows .* got \(\)"),
        ([0] * 60, "query_labels must be a tensor of 60 rows .* got list"),
        (None, "query_labels must be a Tensor"),
    ],
)
def test_labels_that_cannot_be_compared_in_float32(data, labels, said):
    calculator = RecallCalculator(ks=(1,), label_comparison_fn=parity)
    with pytest.raises(ValueError, match=said):
        calculator.get_accuracy(data[0], labels)
    said = "got list" if labels is None else said.replace("query_", "reference_")
    with pytest.raises(ValueError, match=said):
        calculator.get_accuracy(*data, data[0], [] if labels is None else labels)


def test_large_labels_that_float32_holds(data):
    query, labels = data
    calculator = RecallCalculator(ks=(1,), label_comparison_fn=torch.Tensor.eq)
    wanted = calculator.get_accuracy(query, labels)
    for large in (labels + 2**23, labels * 2**24, labels.float() * 2.0**30, labels.int()):
        assert calculator.get_accuracy(query, large) == wanted


def test_reference_labels_alone_beside_a_comparison(data):
    calculator = RecallCalculator(ks=(1,), label_comparison_fn=parity)
    with pytest.raises(ValueError, match="must come together, got reference alone"):
        calculator.get_accuracy(*data, data[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "gpu zero"}, "device must be None, a torch.device or its name, got 'gpu zero'"),
        ({"device": [0]}, r"device must be .* got \[0\]"),
        ({"label_comparison_fn": "equal"}, "label_comparison_fn must be an object that can be"),
        ({"label_comparison_fn": 0}, "label_comparison_fn must be an object that can be"),
        ({"kmeans_func": 3}, "kmeans_func must be an object that can be called, got 3"),
        ({"knn_func": "faiss"}, "knn_func must be an object that can be called, got 'faiss'"),
        ({"knn_func": CustomKNN}, "knn_func must be an object, got the class CustomKNN"),
        ({"include": [["recall_at_1"]]}, r"include must be names .* got \[\['recall_at_1'\]\]"),
        ({"exclude": [1]}, r"exclude must be names .* got \[1\]"),
    ],
)
def test_options_of_wrong_types(options, said):
    with pytest.raises(ValueError, match=said):
        RecallCalculator(**options)


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


ignore_deprecations = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def random_dataset(seed, size=24):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(size, 4, generator=generator), torch.arange(size) // 3)


def new_tester(**options):
    options.setdefault("accuracy_calculator", RecallCalculator(ks=(1, 2)))
    return GlobalEmbeddingSpaceTester(dataloader_num_workers=0, **options)


def at_level_0(recalls):
    return {f"recall_at_{k}_level0": value for k, value in recalls.items()}


@ignore_deprecations
def test_tester_compares_with_itself_and_with_a_gallery():
    val, train = random_dataset(0), random_dataset(1)
    splits = [("val", ["val"]), ("train", ["val"])]
    got = new_tester().test(
        {"val": val, "train": train}, 3, torch.nn.Identity(), splits_to_eval=splits
    )
    assert got["val"] == {"epoch": 3} | at_level_0(recall_at_k(*val.tensors, ks=(1, 2)))
    gallery = recall_at_k(*train.tensors, *val.tensors, ks=(1, 2))
    assert got["train"] == {"epoch": 3} | at_level_0(gallery)


@ignore_deprecations
def test_tester_writes_columns_of_precisions():
    val = random_dataset(0)
    calculator = RecallCalculator(ks=(1,), include=PRECISIONS)
    got = new_tester(accuracy_calculator=calculator).test({"val": val}, 3, torch.nn.Identity())
    wanted = retrieval_metrics(*val.tensors, ks=(1,))
    assert got["val"] == {"epoch": 3} | {f"{name}_level0": v for name, v in wanted.items()}


@ignore_deprecations
def test_tester_with_a_gallery_that_includes_the_queries():
    val, train = random_dataset(0), random_dataset(1)
    both = [("val", ["train", "val"])]
    got = new_tester().test(
        {"val": val, "train": train}, 1, torch.nn.Identity(), splits_to_eval=both
    )
    joined = (torch.cat(parts) for parts in zip(val.tensors, train.tensors, strict=True))
    wanted = RecallCalculator(ks=(1, 2)).get_accuracy(*val.tensors, *joined, True)
    assert got["val"] == {"epoch": 1} | {f"{name}_level0": v for name, v in wanted.items()}


@ignore_deprecations
def test_tester_averages_a_label_hierarchy():
    val = random_dataset(0)
    labels = torch.stack([val.tensors[1], val.tensors[1] // 2], dim=1)
    levels = new_tester(label_hierarchy_level="all")
    val = TensorDataset(val.tensors[0], labels)
    got = levels.test({"val": val}, 1, torch.nn.Identity())["val"]
    values = [recall_at_k(val.tensors[0], labels[:, level], ks=(1, 2)) for level in (0, 1)]
    for k in (1, 2):
        assert got[f"recall_at_{k}_level1"] == values[1][k]
        assert got[f"AVERAGE_recall_at_{k}"] == (values[0][k] + values[1][k]) / 2


def hooks_in(folder):
    pytest.importorskip("record_keeper")
    pytest.importorskip("tensorboard")
    keeper, _, _ = logging_presets.get_record_keeper(str(folder / "csv"), str(folder / "board"))
    return logging_presets.HookContainer(
        keeper, primary_metric="recall_at_1", validation_split_name="val", save_models=False
    )


@ignore_deprecations
def test_training_keeps_the_best_recall(tmp_path):
    hooks = hooks_in(tmp_path)
    evaluation = new_tester(end_of_testing_hook=hooks.end_of_testing_hook)
    train, val = random_dataset(1), random_dataset(0)
    trunk = torch.nn.Linear(4, 4)
    seen = {}

    def noted(trainer):
        result = end_of_epoch(trainer)
        seen[trainer.epoch] = evaluation.all_accuracies["val"]["recall_at_1_level0"]
        return result

    end_of_epoch = hooks.end_of_epoch_hook(evaluation, {"val": val}, str(tmp_path / "models"))
    trainer = MetricLossOnly(
        models={"trunk": trunk},
        optimizers={"trunk_optimizer": torch.optim.SGD(trunk.parameters(), lr=1.0)},
        batch_size=8,
        loss_funcs={"metric_loss": ContrastiveLoss()},
        dataset=train,
        dataloader_num_workers=0,
        end_of_iteration_hook=hooks.end_of_iteration_hook,
        end_of_epoch_hook=noted,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PML's own
        trainer.train(num_epochs=3)

    history = hooks.get_accuracy_history(evaluation, "val", metrics=["recall_at_1", "recall_at_2"])
    assert [*history["epoch"]] == [1, 2, 3]
    assert [*history["recall_at_1_level0"]] == list(seen.values())
    best_epoch, best = hooks.get_best_epoch_and_accuracy(evaluation, "val")
    assert best == max(seen.values())
    assert seen[best_epoch] == best


@ignore_deprecations
def test_hooks_refuse_a_metric_that_is_not_computed(tmp_path):
    hooks = hooks_in(tmp_path)
    hooks.primary_metric = "recall_at_5"
    with pytest.raises(ValueError, match="recall_at_1"):
        hooks.end_of_epoch_hook(new_tester(), {"val": random_dataset(0)}, str(tmp_path))
