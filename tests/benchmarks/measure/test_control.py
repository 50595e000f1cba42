"""Both Multi-Similarity losses on the same embeddings: they agree, and a wrong one is seen."""

from types import SimpleNamespace

import torch

from benchmarks.data.presets import preset
from benchmarks.data.rows import ROWS
from benchmarks.measure import control

SMALL = preset("Glyphs", "small")


def embeddings():
    labels = torch.arange(40) // 5
    noise = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    return torch.eye(16)[labels] + 0.3 * noise, labels


def test_the_losses_agree_to_rounding_and_another_hyperparameter_is_seen():
    given = SMALL.hyperparameters
    for wrong in ({}, {"epsilon": 0.3}, {"alpha": 2.01}, {"base": 0.501}):
        ours, theirs = ROWS["SNP"].make(**given), ROWS["pml-ms"].make(**given | wrong)
        value, gradient = control.differences(ours, theirs, *embeddings())
        assert max(value, gradient) > 1e-4 if wrong else 0 <= value < 1e-5 > gradient > 0


def test_the_largest_differences_of_all_steps_are_told(tmp_path):
    (tmp_path / "logs").mkdir()
    _, loss = ROWS["SNP"].make(**SMALL.hyperparameters)
    write = control.watch(SMALL, loss, tmp_path)
    for step in range(3):
        loss(*embeddings())
        write(SimpleNamespace(get_global_iteration=lambda step=step: step))
    (line, _) = control.lines(tmp_path, 3)
    assert "each of the 3 steps of SNP, seed 0" in line
    assert control.lines(tmp_path, 4) == []  # not to its end
    (tmp_path / "logs/control.csv").write_text("step,value,gradient\n1,0.5,1e-3\n2,1e-6,0.25\n")
    assert "by at most 5.0e-01 and 2.5e-01" in control.lines(tmp_path, 2)[0]
    assert control.lines(tmp_path / "elsewhere", 3) == []
