from dataclasses import replace

from benchmarks.data.presets import fitted, pictures, preset


def test_presets():
    released, text = (preset("CUB200", name) for name in ("released", "text"))
    assert (released.batch, released.iterations, released.milestones) == (80, 3000, (1200, 2400))
    assert (released.learning_rate, released.weight_decay) == (3e-5, 5e-4)
    assert (released.pooling, released.frozen_batch_norm, released.crop) == ("max", True, 227)
    assert released.hyperparameters == {"alpha": 2, "beta": 40, "base": 0.5, "epsilon": 0.1}
    assert text.hyperparameters == {"alpha": 2, "beta": 50, "base": 1, "epsilon": 0.1}
    assert (released.sampler, text.sampler) == ("exhaustive", "random")
    assert (released.tf32, text.tf32) == (False, False)
    assert (text.pooling, text.frozen_batch_norm, text.crop) == ("average", False, 224)
    half = released.shortened(1500)
    assert (half.milestones, len(half.stops)) == ((600, 1200), 8)
    changes = ({}, {"seed": 1}, {"batch": 40}, {"sampler": "random"})
    assert len({replace(released, **change).name for change in changes}) == 4


def test_pictures_are_fine_tuned_from_weights_that_know_pictures():
    small, large, tuned = (
        pictures("ImageFolder", *of)
        for of in (("small_cnn", "random"), ("timm/x", "random"), ("timm/x", "pretrained"))
    )
    assert [one.pooling for one in (small, large, tuned)] == ["own", "average", "average"]
    assert [one.frozen_batch_norm for one in (small, large, tuned)] == [False, False, True]
    assert [one.learning_rate for one in (small, large, tuned)] == [2e-3, 2e-3, 3e-5]


def test_defaults_for_folders_of_any_size():
    sizes = {(100, 10): (50, 150), (4_697, 356): (80, 587), (100_000, 5_000): (80, 12_500)}
    sizes[10**6, 99] = (80, 20_000)
    for (images, classes), expected in sizes.items():
        chosen = fitted(preset("ImageFolder", "pictures"), images, classes)
        assert (chosen.batch, chosen.iterations) == expected
        assert len(chosen.stops) <= 20
