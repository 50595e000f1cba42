"""RecallCalculator in PML's tester, trainer and record keeper, all of them real."""

import warnings

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils import logging_presets
from torch.utils.data import TensorDataset

from pml_gpw.evaluation import RecallCalculator, recall_at_k

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def dataset(seed, size=24):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(size, 4, generator=generator), torch.arange(size) // 3)


def new_tester(**options):
    options.setdefault("accuracy_calculator", RecallCalculator(ks=(1, 2)))
    return GlobalEmbeddingSpaceTester(dataloader_num_workers=0, **options)


def at_level_0(recalls):
    return {f"recall_at_{k}_level0": value for k, value in recalls.items()}


def test_self_comparison_and_gallery():
    val, train = dataset(0), dataset(1)
    splits = [("val", ["val"]), ("train", ["val"])]
    got = new_tester().test(
        {"val": val, "train": train}, 3, torch.nn.Identity(), splits_to_eval=splits
    )
    assert got["val"] == {"epoch": 3} | at_level_0(recall_at_k(*val.tensors, ks=(1, 2)))
    gallery = recall_at_k(*train.tensors, *val.tensors, ks=(1, 2))
    assert got["train"] == {"epoch": 3} | at_level_0(gallery)


def test_gallery_that_includes_the_queries():
    val, train = dataset(0), dataset(1)
    both = [("val", ["train", "val"])]
    got = new_tester().test(
        {"val": val, "train": train}, 1, torch.nn.Identity(), splits_to_eval=both
    )
    joined = (torch.cat(parts) for parts in zip(val.tensors, train.tensors, strict=True))
    wanted = RecallCalculator(ks=(1, 2)).get_accuracy(*val.tensors, *joined, True)
    assert got["val"] == {"epoch": 1} | {f"{name}_level0": v for name, v in wanted.items()}


def test_label_hierarchy_is_averaged():
    val = dataset(0)
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


def test_training_keeps_the_best_recall(tmp_path):
    hooks = hooks_in(tmp_path)
    evaluation = new_tester(end_of_testing_hook=hooks.end_of_testing_hook)
    train, val = dataset(1), dataset(0)
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


def test_hooks_refuse_a_metric_that_is_not_computed(tmp_path):
    hooks = hooks_in(tmp_path)
    hooks.primary_metric = "recall_at_5"
    with pytest.raises(ValueError, match="recall_at_1"):
        hooks.end_of_epoch_hook(new_tester(), {"val": dataset(0)}, str(tmp_path))
