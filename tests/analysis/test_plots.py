"""Each plot shows the numbers it is given, on the axes it is given."""

import sys
from dataclasses import replace

import matplotlib as mpl
import pytest
import torch
from pytorch_metric_learning import losses

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.analysis import pair_weights, plots
from pml_gpw.weightings import LiftedStructure

mpl.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()
    plt.close(figure)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


@pytest.mark.parametrize("relation", ["negative", "positive"])
def test_weight_against_similarity(batch, ax, relation):
    given = {"MS": (MSWeightedLoss(), MSMiner(5.0)), "contrastive": losses.ContrastiveLoss()}
    assert against(given, batch, relation, ax) is ax
    assert set(lines_of(ax)) == set(given)
    for line in ax.get_lines():
        assert max(line.get_ydata()) == pytest.approx(1)
    assert relation in ax.get_xlabel()


def test_weight_field_is_level_where_a_similarity_is_not_used(ax):
    assert plots.plot_weight_field(GPWLoss(LiftedStructure(2, 50, margin=None)), ax) is ax
    spread = {name: max(y := line.get_ydata()) - min(y) for name, line in lines_of(ax).items()}
    assert spread["all of the row (S)"] < 1e-9
    assert spread["the positives (P)"] < 1e-9
    assert spread["the other negatives (N)"] > 0.1


@pytest.mark.parametrize("count", [8, 24])
def test_no_two_lines_look_alike(batch, ax, count):
    against({i: MSLoss() for i in range(count)}, batch, ax=ax)
    lines = ax.get_lines()
    assert len({line.get_color() for line in lines}) == min(count, 8)
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(looks) == count


def test_a_field_is_named_by_its_loss_or_by_its_formula(ax):
    named = {"LiftedStructure": GPWLoss(LiftedStructure()), "MSWeightedLoss": MSWeightedLoss()}
    for name, loss in {**named, "ContrastiveLoss": losses.ContrastiveLoss()}.items():
        assert plots.plot_weight_field(loss, ax).get_title(loc="left") == name


@pytest.mark.parametrize("given", [None, "an Axes"])
def test_without_matplotlib(batch, monkeypatch, given):
    for module in ("matplotlib", "matplotlib.pyplot", "matplotlib.axes"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'matplotlib is needed .* "pml-gpw\[plots\]"'):
        plots.plot_weight_field(MSLoss(), given)


@pytest.mark.parametrize("weighted", [True, False])
def test_histogram_shares_add_up(batch, ax, weighted):
    table = pair_weights(MSWeightedLoss(), *batch)
    assert plots.plot_histogram(table, weighted, ax) is ax
    for bars in ax.containers:
        total = sum(bar.get_height() for bar in bars)
        assert total == pytest.approx(1) if weighted else total > 1


def test_training_curves(ax):
    """Also on axes of their own, where none are given."""
    history = [{"iteration": i, "hardest_1": i / 10, "zero_share": 0.5} for i in (1, 2)]
    assert plots.plot_training(history, ("hardest_1", "zero_share"), ax) is ax
    assert list(lines_of(ax)["hardest_1"].get_ydata()) == [0.1, 0.2]
    own = plots.plot_training(history, ["zero_share"])
    assert own is not ax
    plt.close(own.figure)


@pytest.mark.parametrize("what", ["weight", "similarity"])
def test_a_batch_in_another_order_is_shown_by_class(batch, ax, what):
    x, labels = batch
    order = torch.arange(12).reshape(4, 3).T.flatten()  # one of each class, three times
    table = pair_weights(MSWeightedLoss(), x[order], labels[order])
    assert plots.plot_batch(table, what, ax) is ax
    shown = torch.as_tensor(ax.get_images()[0].get_array())
    table = pair_weights(MSWeightedLoss(), x, labels)
    expected = table.weights if what == "weight" else table.similarity
    torch.testing.assert_close(shown, expected, check_dtype=False)


@pytest.mark.filterwarnings("ignore:No artists with labels")
def test_a_relation_without_pairs(batch, ax):
    against({"MS": MSWeightedLoss()}, (batch[0], torch.arange(12)), "positive", ax)
    assert not ax.get_lines()


RECORD = {"iteration": 1, "hardest_1": 0.5}
KINDS = "at most 24, for that many kinds of lines, got 25"
REFUSED = [
    (lambda batch: against(MSWeightedLoss(), batch), "losses must be a mapping .*, got MSWeighted"),
    (lambda batch: against({"a": None}, batch), "loss must be a loss of pairs"),
    (lambda batch: against({}, batch, ["hard"]), "relation must be one of negative, positive"),
    (lambda batch: against(dict.fromkeys(range(25), MSLoss()), batch), f"losses must be {KINDS}"),
    (lambda _: plots.plot_weight_field(None), "loss must be a loss of pairs"),
    (lambda _: plots.plot_weight_field(MSLoss(), None, "half"), "base must be a finite number"),
    (lambda _: plots.plot_weight_field(MSLoss(), "ax"), "ax must be a Axes, got 'ax'"),
    (lambda _: plots.plot_batch(None), "table must be a PairWeightTable, got None"),
    (lambda batch: plots.plot_batch(of(batch), ["weight"]), "what must be one of weight, simil"),
    (lambda _: plots.plot_histogram(MSLoss()), "table must be a PairWeightTable"),
    (lambda batch: plots.plot_histogram(empty(of(batch))), r"similarities, got .* \(0, 12\)"),
    (lambda _: plots.plot_training(None), "history must be a list or tuple, got None"),
    (lambda _: plots.plot_training([None]), "record of history must be a Mapping, got None"),
    (lambda _: plots.plot_training([RECORD], "hardest_1"), "figures must be a list or tuple"),
    (lambda _: plots.plot_training([RECORD], ["zeros"]), "in every record of history, got 'zeros'"),
    (lambda _: plots.plot_training([{"a": 0.5}], ["a"]), "record of history, got 'iteration'"),
    (lambda _: plots.plot_training([RECORD], ["hardest_1"] * 25), f"figures must be {KINDS}"),
]


@pytest.mark.parametrize(("call", "said"), REFUSED)
def test_arguments_that_cannot_be(batch, call, said):
    with pytest.raises(ValueError, match=said):
        call(batch)
    plt.close("all")


def of(batch):
    return pair_weights(MSLoss(), *batch)


def against(losses, batch, relation="negative", ax=None):
    return plots.plot_weight_against_similarity(losses, *batch, relation, ax)


def empty(table):
    names = ("similarity", "gradient", "positives", "negatives", "mined", "labels")
    return replace(table, **{name: getattr(table, name)[:0] for name in names})
