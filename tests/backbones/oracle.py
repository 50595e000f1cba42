"""BN-Inception by its published definition, from flat names, in plain functions: the oracle."""

import torch
import torch.nn.functional as F

# block: input channels, then the outputs of 1x1, 3x3 (reduce, 3x3), double 3x3 (reduce, both),
# pooling projection; None where a block that halves the map has no such branch.
BLOCKS = {
    "3a": (192, 64, (64, 64), (64, 96), 32),
    "3b": (256, 64, (64, 96), (64, 96), 64),
    "3c": (320, None, (128, 160), (64, 96), None),
    "4a": (576, 224, (64, 96), (96, 128), 128),
    "4b": (576, 192, (96, 128), (96, 128), 128),
    "4c": (576, 160, (128, 160), (128, 160), 128),
    "4d": (608, 96, (128, 192), (160, 192), 128),
    "4e": (608, None, (128, 192), (192, 256), None),
    "5a": (1056, 352, (192, 320), (160, 224), 128),
    "5b": (1024, 352, (192, 320), (192, 224), 128),
}


def convolutions():
    """Name -> (outputs, inputs, kernel)."""
    first, second = (64, 3, 7), (192, 64, 3)
    found = {"conv1_7x7_s2": first, "conv2_3x3_reduce": (64, 64, 1), "conv2_3x3": second}
    for block, (inputs, single, three, double, projection) in BLOCKS.items():
        found |= {
            f"inception_{block}_3x3_reduce": (three[0], inputs, 1),
            f"inception_{block}_3x3": (*three[::-1], 3),
            f"inception_{block}_double_3x3_reduce": (double[0], inputs, 1),
            f"inception_{block}_double_3x3_1": (*double[::-1], 3),
            f"inception_{block}_double_3x3_2": (double[1], double[1], 3),
        }
        if single:
            found[f"inception_{block}_1x1"] = (single, inputs, 1)
            found[f"inception_{block}_pool_proj"] = (projection, inputs, 1)
    return found


def checkpoint(seed=0, classifier="last_linear", rows=False, batches=True, prefix=""):
    """Random, in float64; ``rows`` of batch normalization as (1, C), ``batches`` are counted."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    state = {}
    for name, (outputs, inputs, kernel) in convolutions().items():
        scale = (2 / (inputs * kernel**2)) ** 0.5
        state[f"{name}.weight"] = scale * normal(outputs, inputs, kernel, kernel)
        state[f"{name}.bias"] = 0.3 * normal(outputs)
        statistics = {
            "weight": 1 + 0.2 * normal(outputs),
            "bias": 0.3 * normal(outputs),
            "running_mean": 0.3 * normal(outputs),
            "running_var": 0.5 + normal(outputs).abs(),
        }
        for key, value in statistics.items():
            state[f"{name}_bn.{key}"] = value[None] if rows else value
        if batches:
            state[f"{name}_bn.num_batches_tracked"] = torch.tensor(7)
    if classifier:
        state[f"{classifier}.weight"] = 0.03 * normal(1000, 1024)
        state[f"{classifier}.bias"] = 0.3 * normal(1000)
    return {prefix + name: tensor for name, tensor in state.items()}


def feature_map(state, images):
    """Images (B, 3, H, W), normalised, to the output of 5b."""

    def layer(name, x, stride=1):
        weight = state[f"{name}.weight"]
        x = F.conv2d(x, weight, state[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)
        norm = [state[f"{name}_bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(x, *norm, training=False, eps=1e-5))

    def halved(x):
        return F.max_pool2d(x, 3, stride=2, ceil_mode=True)

    x = halved(layer("conv1_7x7_s2", images, stride=2))
    x = halved(layer("conv2_3x3", layer("conv2_3x3_reduce", x)))
    for block in BLOCKS:
        name = f"inception_{block}"
        halves = block in ("3c", "4e")
        stride = 2 if halves else 1
        three = layer(f"{name}_3x3", layer(f"{name}_3x3_reduce", x), stride)
        double = layer(f"{name}_double_3x3_1", layer(f"{name}_double_3x3_reduce", x))
        double = layer(f"{name}_double_3x3_2", double, stride)
        if halves:
            x = torch.cat([three, double, halved(x)], 1)
            continue
        if block == "5b":
            pooled = F.max_pool2d(x, 3, stride=1, padding=1, ceil_mode=True)
        else:
            pooled = F.avg_pool2d(x, 3, stride=1, padding=1, ceil_mode=True)
        single = layer(f"{name}_1x1", x)
        x = torch.cat([single, three, double, layer(f"{name}_pool_proj", pooled)], 1)
    return x


def logits(state, images):
    """Images (B, 3, 224, 224), normalised, to (B, 1000)."""
    x = feature_map(state, images).mean((2, 3))
    return F.linear(x, state["last_linear.weight"], state["last_linear.bias"])
