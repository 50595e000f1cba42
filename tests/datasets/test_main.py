from pathlib import Path

import pytest

from pml_gpw.datasets.__main__ import main

from .helpers import some_image

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_the_command_says_what_is_wrong(miniature_copy, capsys):
    dataset, root = miniature_copy
    path = some_image(dataset, root)
    Path(path).write_bytes(b"")
    assert main(["verify", dataset.__name__, str(root), "--quick"]) == 1
    assert f"{path} is empty" in capsys.readouterr().out
    assert main(["verify", dataset.__name__, str(root / "nowhere")]) == 2
    assert "root must be a folder" in capsys.readouterr().err
