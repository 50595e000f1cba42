"""The architecture: imports run downward, and optional packages stay optional."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pml_gpw

PACKAGE = Path(pml_gpw.__file__).parent
BELOW = {  # subpackage → subpackages of the package that it may import
    "value_checks": "",
    "checks": "value_checks",
    "precision": "",
    "optional": "",
    "lazy": "",
    "weightings": "checks value_checks",
    "mining": "checks weightings",
    "engine": "checks mining precision value_checks weightings",
    "reductions": "engine weightings",
    "functional": "arguments checks columns relations engine mining pair_weight_table precision "
    "reductions weightings",
    "pair_weight_table": "optional",
    "columns": "checks",
    "relations": "checks engine precision",
    "gradient_caching": "checks precision",
    "arguments": "checks engine precision related_pairs value_checks",
    "related_pairs": "checks engine relations",
    "modules": "arguments checks columns relations engine mining precision reductions value_checks "
    "weightings related_pairs",
    "evaluation": "checks distributed hosts lazy optional related_pairs",
    "hosts": "arguments checks engine evaluation modules precision reductions relations weightings "
    "related_pairs",
    "losses": "hosts lazy modules",
    "miners": "hosts lazy modules",
    "reducers": "hosts lazy",
    # evaluation: former names of its functions, when asked for
    "distributed": "arguments checks engine evaluation lazy modules precision value_checks "
    "related_pairs",
    "analysis": "optional pair_weight_table arguments checks engine hosts modules precision",
    "datasets": "checks optional",
    "backbones": "checks optional",
    "training": "__version__ checks distributed evaluation hosts lazy mining modules optional "
    "weightings",
    "integrations": "checks distributed evaluation hosts mining modules optional training "
    "weightings",
    "__init__": "hosts lazy modules",
    "__main__": "",
}
ALLOWED = {subpackage: set(names.split()) for subpackage, names in BELOW.items()}
FILES = sorted(PACKAGE.rglob("*.py"))
INTEGRATIONS = [
    path for path in FILES if path.parent.name == "integrations" and path.name != "__init__.py"
]


def imports_of(path):
    """Absolute module names that a file of the package imports."""
    package = ["pml_gpw", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ([module] if node.module else [f"{module}.{a.name}" for a in node.names])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    subpackage = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports_of(path):
        top, *rest = module.split(".")
        if top == "pml_gpw":
            assert rest[0] == subpackage or rest[0] in ALLOWED[subpackage], (
                f"{subpackage} imports {module}"
            )
        if "pml2" not in path.parts:
            assert top != "pytorch_metric_learning", f"{path} imports {module}"


def test_the_walk_sees_imports():
    assert "pml_gpw.weightings" in set(imports_of(PACKAGE / "engine" / "dense.py"))
    assert "pml_gpw.checks" in set(imports_of(PACKAGE / "functional.py"))


def module_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(["pml_gpw", *parts]).removesuffix(".__init__")


OPTIONAL = (
    "torchvision timm pytorchcv faiss matplotlib PIL pandas record_keeper scipy.io pooch "
    "tensorboard sentence_transformers transformers torchmetrics"
)
WITHOUT_THEM = f"""
import importlib, sys
for name in {OPTIONAL.split()}:
    sys.modules[name] = None
for name in {[module_of(path) for path in FILES if path not in INTEGRATIONS]}:
    importlib.import_module(name)
for name in {[module_of(path) for path in INTEGRATIONS]}:
    library = name.rpartition(".")[2].replace("loss_checkpoints", "sentence_transformers")
    try:
        importlib.import_module(name)
    except ImportError as error:
        extra = library.replace("_", "-")
        assert f'pip install "pml-gpw[{{extra}}]"' in str(error), error
    else:
        raise AssertionError(name)
"""


def test_optional_packages_are_not_imported():
    """But by an integration, which says how to install its library."""
    assert len(INTEGRATIONS) == 3
    subprocess.run([sys.executable, "-c", WITHOUT_THEM], check=True)
