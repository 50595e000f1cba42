"""What the tests of several data sets share."""

import re

import numpy as np
import pytest
import torch

ANNOTATION_FILES = {
    "CUB200": "CUB_200_2011/images.txt",
    "StanfordOnlineProducts": "Stanford_Online_Products/Ebay_test.txt",
    "InShop": "Eval/list_eval_partition.txt",
}


def to_tensor(image):
    return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1)


def assert_refused(dataset, root, pattern):
    """The constructor raises the problem and the report lists it."""
    with pytest.raises(ValueError, match=pattern):
        dataset(root, dataset.queries)
    report = dataset.verify(root, progress=False)
    assert not report.ok
    assert any(re.search(pattern, problem) for problem in report.problems), report


def some_image(dataset, root):
    return dataset(root, dataset.queries).paths[3]


def rewrite(path, change):
    """Change the list of the lines that are not blank."""
    lines = [line for line in path.read_text().splitlines() if line]
    path.write_text("\n".join(change(lines)) + "\n")
