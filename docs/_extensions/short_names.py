"""Links for public names that a docstring mentions without their module, or of the package."""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

ANYWHERE = 1
"""Sphinx's search mode that takes a name whatever stands before it."""


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """The link to the one object of that name, or None where there is none or several."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    name = node["reftarget"]
    if name.startswith("pml_gpw."):  # as pml_gpw.MSLoss, which pml_gpw.losses documents
        name = name.rpartition(".")[2]
    found = domain.find_obj(env, "", "", name, None, ANYWHERE)
    objects = {domain.objects[name].node_id: domain.objects[name] for name, _ in found}
    if len(objects) != 1:
        return None
    (thing,) = objects.values()
    return make_refnode(app.builder, node["refdoc"], thing.docname, thing.node_id, text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
