from dataclasses import replace

from benchmarks.data.presets import preset


def test_presets():
    released, text = (preset("CUB200", name) for name in ("released", "text"))
    assert (released.batch, released.iterations, released.milestones) == (80, 3000, (1200, 2400))
    assert (released.learning_rate, released.weight_decay) == (3e-5, 5e-4)
    assert (released.pooling, released.frozen_batch_norm, released.crop) == ("max", True, 227)
    assert released.hyperparameters == {"alpha": 2, "beta": 40, "base": 0.5, "epsilon": 0.1}
    assert text.hyperparameters == {"alpha": 2, "beta": 50, "base": 1, "epsilon": 0.1}
    assert (released.sampler, text.sampler) == ("exhaustive", "random")
    assert not released.tf32
    assert not text.tf32
    assert (text.pooling, text.frozen_batch_norm, text.crop) == ("average", False, 224)
    half = released.shortened(1500)
    assert (half.milestones, len(half.stops)) == ((600, 1200), 8)
    names = {
        replace(released, **change).name
        for change in ({}, {"seed": 1}, {"batch": 40}, {"sampler": "random"})
    }
    assert len(names) == 4
