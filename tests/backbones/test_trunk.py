import torch

from pml_gpw.backbones import Backbone, InputConvention


def test_backbone_under_autocast():
    network = torch.nn.Conv2d(3, 5, 3)
    trunk = Backbone(
        network, 5, InputConvention((104, 117, 128), (1, 1, 1), "BGR", 255), torch.nn.Flatten()
    )
    images = torch.randint(0, 256, (2, 3, 3, 3), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        features = trunk(images)
    assert features.shape == (2, 5)
    assert features.dtype == torch.bfloat16
    features.float().sum().backward()
    assert network.weight.grad.dtype == torch.float32
