import pytest

from .mutants import answered, drawn
from .mutations import mutations


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("a < b", {"(a) > b"}),
        ("x = not a", {"x = (a)"}),
        ("x = a * b", {"x = (a)", "x = (b)"}),
        ("a += b", {"pass"}),
        ("x = a[0]", {"x = a[(0) + 1]"}),
        ("x = a[:n]", {"x = a[:(n) + 1]"}),
        ("if a: b", {"if False: b", "if True: b"}),
        ("x = a.detach()", {"x = a"}),
        ("a.mul_(b)", {"a", "pass"}),
        ("f(a)", {"pass"}),
        ("x = a and b", {"x = (a)", "x = (b)"}),
        ("def f(a: int | str) -> int | None: return a", set()),
        ("Name = int | str", set()),
        ("x = 'a' + b", set()),
    ],
)
def test_faults_of_a_line(source, faults):
    text = source.encode()
    assert {mutation.apply(text).decode() for mutation in mutations(text)} == faults


def test_places_are_drawn_by_seed_each_once_and_from_all_rooms():
    first, again, other = drawn(200, 0), drawn(200, 0), drawn(200, 1)
    assert first == again != other
    assert len({(m.path, m.line) for m in first}) == 200
    rooms = {m.path.split("/")[1] for m in first}
    assert rooms == {"weightings", "mining", "engine", "modules", "evaluation", "training"}


def test_answered_faults_stand_in_the_code_as_it_is():
    assert all(mutant.answer for mutant in answered().values())
