import pytest
import torch

from benchmarks.measure.folds import contiguous_folds


@pytest.mark.parametrize(("classes", "folds"), [(11, 4), (5, 5)])
def test_folds_are_disjoint_contiguous_and_cover(classes, folds):
    generator = torch.Generator().manual_seed(classes)
    labels = 3 * torch.randint(classes, (200,), generator=generator) + 1
    labels = torch.cat([labels, 3 * torch.arange(classes) + 1])
    present = sorted(set(labels.tolist()))
    found = contiguous_folds(labels, folds)
    assert len(found) == folds
    left_out = []
    for fold in found:
        inside, outside = (set(labels[part].tolist()) for part in fold)
        assert not inside & outside
        assert sorted(fold.train.tolist() + fold.validation.tolist()) == [*range(len(labels))]
        start = present.index(min(outside))
        assert sorted(outside) == present[start : start + len(outside)]
        left_out += sorted(outside)
    assert left_out == present
    sizes = [len(set(labels[fold.validation].tolist())) for fold in found]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("folds", [1, 4])
def test_too_few_or_too_many_folds_are_refused(folds):
    with pytest.raises(ValueError, match=f"folds must be in 2..3, the number .*, got {folds}"):
        contiguous_folds(torch.tensor([0, 1, 2, 2]), folds)
