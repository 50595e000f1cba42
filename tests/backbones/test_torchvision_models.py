import pytest
import torch

from pml_gpw.backbones import backbone

from .helpers import HALF, features, picture

models = pytest.importorskip("torchvision.models")


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet18", {}), ("googlenet", {"transform_input": True, "init_weights": True})],
)
def test_features_are_those_before_the_models_classifier(name, options):
    torch.manual_seed(0)
    model = getattr(models, name)(**options).eval()
    trunk = backbone(f"torchvision/{name}")
    assert (trunk.convention.mean.flatten().tolist() == HALF) is (name == "googlenet")
    state = model.state_dict()
    trunk.network.load_state_dict({n: state[n] for n in trunk.network.state_dict()})
    normalised = (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))
    mean, std = (values.reshape(3, 1, 1) for values in normalised)
    images = picture("")
    with torch.no_grad():
        want = model((images / 255 - mean) / std)
        got = model.fc(trunk.eval()(images))
    assert (got - want).abs().max() < 1e-4 * want.abs().max()


@pytest.mark.parametrize(
    "name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.exhaustive)]
)
def test_own_features_are_not_converted_twice(name, monkeypatch):
    # As with pretrained weights: torchvision then sets transform_input.
    made = getattr(models, name)(transform_input=True, init_weights=False)
    monkeypatch.setattr(models, "get_model", lambda name, **options: made)
    own = backbone(f"torchvision/{name}", "own")
    average = backbone(f"torchvision/{name}", "average")
    assert torch.equal(features(own, picture("")), features(average, picture("")))
    assert own.train()(picture("")).shape == (2, own.features)  # no auxiliary outputs
