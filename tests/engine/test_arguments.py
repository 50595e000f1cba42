import torch

from pml_gpw.engine.arguments import find_self_index


def test_anchors_among_the_references():
    x = torch.randn(3, 2)
    for twin in (x, x.clone().detach()):
        assert find_self_index(x, twin).tolist() == [0, 1, 2]
    assert find_self_index(x, x.flip(0)).tolist() == [-1] * 3
    assert find_self_index(x, x[:2]) is None
