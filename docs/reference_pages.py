"""An mkdocs hook: one reference page for each public name, and an index for each package.

The public names are those in the `__all__` of the packages below. A build imports neither
TensorFlow nor Keras: sources are parsed, and imported only where `__all__` is computed, which are
the packages that import Keras on first use.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "callbacks": "Keras callbacks that measure a fit",
    "dlip_reg.regularization": "which regularizers go where",
    "dlip_reg.models": "builders of networks",
    "dlip_reg.datasets": "image data, ready to train on",
    "dlip_reg.curvature": "second derivatives, sharpness, slices of the loss",
    "dlip_reg.sam": "training for flat minima",
    "dlip_reg.training": "one run: a specification in, a record out",
    "dlip_reg.experiments": "workers, the sweep, and the record store",
    "dlip_reg.evidence": "paired differences, intervals and the verdict rule",
    "dlip_reg.studies": "arms, claims, controls, and `run_study`",
    "dlip_reg.tuning": "a hypermodel and a parallel tuner for keras-tuner",
    "dlip_reg.report": "the page with figures",
    "dlip_reg.report.figures": "figures from plain numbers, see the [gallery](../../gallery.md)",
    "dlip_reg.cli": "command lines of studies",
    "dlip_reg.errors": "the base class of all errors",
    "dlip_reg.extras": "optional dependencies",
}


@dataclass(frozen=True)
class Name:
    """A public name: the package that exports it, and the module that defines it."""

    package: str
    name: str
    module: str
    summary: str

    @property
    def page(self) -> str:
        return f"reference/{self.package}/{self.name}.md"


def public_names(package: str) -> list[Name]:
    """The names that a package or module exports, sorted."""
    tree = _parse(package)
    names = sorted(_exported(package, tree), key=str.lower)
    return [_name(package, name, tree) for name in names]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the packages and their names to the navigation."""
    (reference,) = (entry["Reference"] for entry in config.nav if "Reference" in entry)
    for package in PACKAGES:
        pages: list = [f"reference/{package}/index.md"]
        pages += [{name.name: name.page} for name in public_names(package)]
        reference.append({package: pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages of the reference."""
    for package, about in PACKAGES.items():
        names = public_names(package)
        rows = "\n".join(f"| [`{name.name}`]({name.name}.md) | {name.summary} |" for name in names)
        content = (
            f"# {package}\n\n{about[0].upper()}{about[1:]}.\n\n| name | |\n|---|---|\n{rows}\n"
        )
        files.append(File.generated(config, f"reference/{package}/index.md", content=content))
        for name in names:
            content = (
                f"# {name.name}\n\n```\nfrom {package} import {name.name}\n```\n\n"
                f"::: {name.module}.{name.name}\n    options: {{heading: Signature}}\n"
            )
            files.append(File.generated(config, name.page, content=content))
    return files


def _name(package: str, name: str, tree: ast.Module) -> Name:
    module, node = _find(package, name, tree)
    return Name(package, name, module, _summary(node))


def _find(package: str, name: str, tree: ast.Module) -> tuple[str, ast.AST]:
    """The module that defines a name, and the statement that does; a module defines itself."""
    definitions = dict(_definitions(tree))
    if name in definitions:
        return package, definitions[name]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return _find(node.module, name, _parse(node.module))
    # Exported on first use, by the package's __getattr__.
    if _path(f"{package}.{name}").exists():
        return package, _parse(f"{package}.{name}")
    for path in sorted(_path(package).parent.glob("*.py")):
        if path.stem != "__init__":
            module = f"{package}.{path.stem}"
            definitions = dict(_definitions(_parse(module)))
            if name in definitions:
                return module, definitions[name]
    raise LookupError(f"No module of {package} defines {name}.")


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            for target in ast.walk(node.targets[0]):  # one name, or several in a tuple
                if isinstance(target, ast.Name):
                    yield target.id, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node


def _exported(package: str, tree: ast.Module) -> list[str]:
    definitions = dict(_definitions(tree))
    if "__all__" not in definitions:  # what a module defines, or a package imports
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        imported = [alias.name for node in imports for alias in node.names]
        names = imported if _path(package).name == "__init__.py" else definitions
        return [name for name in names if not name.startswith("_")]
    try:
        return ast.literal_eval(definitions["__all__"].value)
    except ValueError:  # made of the tables of a package that imports on first use
        return import_module(package).__all__


def _summary(node: ast.AST) -> str:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        return ""
    docstring = ast.get_docstring(node) or ""
    return " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")


def _parse(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text("utf-8"))


def _path(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
