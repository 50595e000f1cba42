"""Small faults for source files: places where one can be made, and the line with it."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

TURNED = {
    **{ast.Lt: ">", ast.Gt: "<", ast.LtE: ">=", ast.GtE: "<=", ast.Eq: "!=", ast.NotEq: "=="},
    **{ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is"},
}
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult, ast.BitAnd, ast.BitOr)


class Mutation(NamedTuple):
    """A stretch of a source, in bytes, and what stands there instead."""

    kind: str
    line: int
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """The source with the fault in it."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutations(source: bytes) -> list[Mutation]:
    """All mutations of a source, in the order of their places; none in annotations."""
    starts = [0]
    for line in source.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)

    def begin(node: ast.AST) -> int:
        return starts[node.lineno - 1] + node.col_offset

    def end(node: ast.AST) -> int:
        return starts[node.end_lineno - 1] + node.end_col_offset

    def text(node: ast.AST) -> str:
        return source[begin(node) : end(node)].decode()

    found = []
    for node in _code(ast.parse(source)):
        for kind, place, instead in _of_node(node, text):
            found.append(Mutation(kind, place.lineno, begin(place), end(place), instead))
    return sorted(set(found), key=lambda mutation: (mutation.start, mutation))


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a node that run: no annotations, nothing for type checkers alone.

    Nor the parts of formatted strings, whose places Python 3.11 does not know.
    """
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Assign) and _is_alias(child):
                continue
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield child
                yield from _code(child)


def _is_alias(node: ast.Assign) -> bool:
    """True for ``Name = A | B``, the name of a type."""
    value, target = node.value, node.targets[0]
    return (
        isinstance(value, ast.BinOp)
        and isinstance(value.op, ast.BitOr)
        and isinstance(target, ast.Name)
        and target.id[0].isupper()
    )


def _of_node(node, text) -> Iterator[tuple[str, ast.AST, str]]:
    """Kinds of faults of one node: where, and what stands there instead."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        turned = TURNED[type(node.ops[0])]
        yield "comparison turned", node, f"({text(node.left)}) {turned} {text(node.comparators[0])}"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield "sign or negation dropped", node, f"({text(node.operand)})"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
        if not any(_is_text(side) for side in (node.left, node.right)):
            yield "term dropped", node, f"({text(node.left)})"
            yield "term dropped", node, f"({text(node.right)})"
    elif isinstance(node, ast.BoolOp):
        yield "term dropped", node, f"({text(node.values[0])})"
        yield "term dropped", node, f"({text(node.values[-1])})"
    elif isinstance(node, ast.AugAssign):
        yield "term dropped", node, "pass"
    elif isinstance(node, ast.Subscript):
        yield from _shifted(node.slice, text)
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield "branch cut", node.test, "False"
        yield "branch cut", node.test, "True"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        method, owner = node.func.attr, text(node.func.value)
        if method.endswith("_") and not method.startswith("_") and method != "requires_grad_":
            yield "in-place left out", node, owner
        elif method == "detach":
            yield "detach left out", node, owner
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call left out", node, "pass"


def _is_text(node: ast.AST) -> bool:
    """True for a string, formatted or not."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _shifted(index: ast.AST, text) -> Iterator[tuple[str, ast.AST, str]]:
    """Whole numbers of an index, each off by one."""
    for part in ast.walk(index):
        bounds = (part.lower, part.upper) if isinstance(part, ast.Slice) else ()
        for bound in (b for b in bounds if b is not None):
            yield "index off by one", bound, f"({text(bound)}) + 1"
    whole = index.elts if isinstance(index, ast.Tuple) else [index]
    for part in whole:
        number = part.operand if isinstance(part, ast.UnaryOp) else part
        if isinstance(number, ast.Constant) and type(number.value) is int:
            yield "index off by one", part, f"({text(part)}) + 1"
