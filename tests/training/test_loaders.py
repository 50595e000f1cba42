"""The batches of whole classes in loaders of torchdata, Accelerate and Lightning."""

from itertools import islice

import pytest
import torch
from torch.utils.data import TensorDataset

from pml_gpw.training import NumberedBatches, SeededViews
from pml_gpw.training.experiment import SAMPLERS

LABELS = [i // 6 for i in range(60)]
DATA = TensorDataset(torch.arange(60))


def sampler(rule="random", batches=6, **options):
    return SAMPLERS[rule](LABELS, 30, per_class=5, batches=batches, **options)


def images(batches):
    return [image.tolist() for (image,) in batches]


def loader(rule, workers, numbered):
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    batches, data = sampler(rule), DATA
    if numbered:
        batches, data = NumberedBatches(batches), SeededViews(DATA, (0,))
    return stateful.StatefulDataLoader(data, batch_sampler=batches, num_workers=workers)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize(("rule", "numbered"), [("random", False), ("exhaustive", True)])
@pytest.mark.parametrize(("workers", "done"), [(0, 0), (0, 1), (0, 6), (0, 8), (1, 5), (2, 12)])
def test_a_stateful_loader_goes_on_with_the_same_batches(rule, numbered, workers, done):
    """Taken before, in and after an epoch: what is left of it, and then whole epochs."""
    whole = [*sampler(rule, 24)]
    first, second = (loader(rule, workers, numbered) for _ in range(2))
    for _ in range(done // 6):
        images(first)
    if done % 6 or not done:
        trained = iter(first)
        for _ in range(done % 6):
            next(trained)
    second.load_state_dict(first.state_dict())
    rest = images(second)
    assert rest == whole[done : done + 6 - done % 6]
    assert images(second) == whole[done + len(rest) :][:6]


def prepared(batches, rank, **options):
    """The loader of a process of two, as ``Accelerator.prepare`` makes it."""
    accelerate = pytest.importorskip("accelerate.data_loader")
    whole = torch.utils.data.DataLoader(DATA, batch_sampler=batches)
    return accelerate.prepare_data_loader(whole, None, 2, rank, **options)


def test_accelerate_deals_whole_classes_of_whole_batches():
    """With ``split_batches`` the shares of the sampler, without it whole batches in turn."""
    batches = [*sampler()]
    alone = {"rank": 0, "world_size": 1}
    for rank in range(2):
        shares = [*sampler(rank=rank, world_size=2)]
        assert images(prepared(sampler(**alone), rank, split_batches=True)) == shares
        assert images(prepared(sampler(**alone), rank)) == batches[rank::2]
    with pytest.raises(ValueError, match=r"world_size must be 1, .* dealt to processes, got 2 and"):
        prepared(sampler(rank=1, world_size=2), 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "batches", "wanted"),
    [
        ({"limit_train_batches": 3}, sampler(), [0, 1, 2, 6, 7, 8]),
        ({}, sampler(), range(12)),
        ({"overfit_batches": 2}, [*islice(sampler(), 2)], [0, 1, 0, 1]),
    ],
)
def test_lightning_has_epochs_of_one_length(tmp_path, options, batches, wanted):
    lightning = pytest.importorskip("lightning")

    seen = []

    class Watched(lightning.LightningModule):
        def training_step(self, batch, _):
            seen.append(batch[0].tolist())

        def configure_optimizers(self):
            return None

    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options |= {"accelerator": "cpu", "max_epochs": 2, "default_root_dir": tmp_path}
    trainer = lightning.Trainer(**options, **dict.fromkeys(quiet, False))
    trainer.fit(Watched(), torch.utils.data.DataLoader(DATA, batch_sampler=batches))
    whole = [*sampler(batches=12)]
    assert seen == [whole[number] for number in wanted]
