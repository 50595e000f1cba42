"""The package stays small, and few files lie on the way of a call."""

import pml_gpw
from tests.call_path import PACKAGE, files_on_the_way, step_of
from tests.code_lines import by_room, code_lines


def test_the_way_from_a_call_to_its_gradient():
    calls = files_on_the_way(step_of(pml_gpw.MSLoss()))
    assert len(calls) <= 18, sorted(calls)
    assert calls["engine/anchor_losses.py"] >= 3  # forward and backward were seen


def test_code_lines():
    rooms = by_room(PACKAGE)
    assert 1000 < rooms["engine"] <= 1150
    assert rooms.total() <= 10855


def test_what_counts_as_a_line_of_code():
    text = '"""Doc."""\nimport os\n\n# comment\ndef f(\n    x,\n):\n    """Doc."""\n    return x\n'
    assert code_lines(text) == 4
