"""The metrics of lists, whatever else is in the lists."""

import torch

from pml_gpw.evaluation.measures import Lists, average_precision, r_precision


def test_what_follows_the_r_nearest_changes_no_digit():
    """Nor do other rows beside them: so block sizes and numbers of processes change none."""
    generator = torch.Generator().manual_seed(0)
    grades = torch.rand(200, 60, generator=generator) < torch.rand(200, 1, generator=generator)
    counts = torch.randint(1, 61, (200,), generator=generator)
    longer = torch.cat([grades, torch.ones(200, 37, dtype=torch.bool)], dim=1)
    for function in (r_precision, lambda lists: average_precision(lists, at_r=True)):
        wanted = function(Lists(grades.float(), counts))
        blocks = [function(Lists(longer[i].float(), counts[i])) for i in torch.arange(200).split(3)]
        assert torch.cat(blocks).equal(wanted)
