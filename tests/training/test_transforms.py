import torch
from PIL import Image

from pml_gpw.training import evaluation_transform, train_transform


def half_red(mode="RGB"):
    image = Image.new("RGB", (80, 40))
    image.paste((255, 0, 0), (0, 0, 40, 40))
    return image.convert(mode)


def test_evaluation_sees_the_middle():
    view = evaluation_transform(resize=20, crop=10)(half_red())
    assert (view.shape, view.dtype) == ((3, 10, 10), torch.uint8)
    assert view[0, :, 0].eq(255).all()
    assert view[:, :, -1].eq(0).all()


def test_training_sees_random_crops_of_the_shares_asked_for():
    torch.manual_seed(0)
    views = torch.stack([train_transform(20, 10)(half_red()) for _ in range(40)]).float()
    left, right = views[:, 0, :, 0].mean(1), views[:, 0, :, -1].mean(1)
    assert (left > right).any()  # as it is
    assert (left < right).any()  # flipped
    whole = train_transform(20, 10, smallest_crop=1.0)
    # crops of the whole area show both halves
    assert all(0 < whole(half_red())[0].float().mean() < 255 for _ in range(20))
