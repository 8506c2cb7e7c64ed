"""The documentation: its code blocks run, and every public name has a page."""

import importlib
import importlib.util
import inspect
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from further_cases import thorough_after
from headless_chromium import open_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# These start worker processes and train for up to a minute or two.
LONG = {"tutorials/first_lab.md", "tutorials/tuning.md"}
# Ten minutes; the same lab is run at its quick preset.
TOO_LONG = "python labs/lab_regularization.py"

# Searches a page of the site for the name of a class; the addresses that the results link to.
SEARCH = """
new Promise(done => {
  const query = document.querySelector("[data-md-component=search-query]")
  query.value = "Sharpness"
  query.focus()
  query.dispatchEvent(new Event("keyup"))
  const timer = setInterval(() => {
    const links = [...document.querySelectorAll(".md-search-result__link")]
    if (links.length) { clearInterval(timer); done(links.map(link => link.href.split("?")[0])) }
  }, 50)
})
"""


def blocks(page):
    """The Python blocks of a page, those of included files not counted (they have own tests)."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
WITH_CODE = [name for name, path in PAGES.items() if blocks(path)]


def shell_blocks(page):
    """The blocks of a page without a language, which are commands."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [block for language, block in fences if not language]


def write_script(page, folder):
    """Write the blocks that begin with a file's name as that file, and the others as one script."""
    script = []
    for block in blocks(PAGES[page]):
        if file := re.match(r"# (\w+\.py)\n", block):
            (folder / file[1]).write_text(block, "utf-8")
        else:
            script.append(block)
    for numbers in (DOCS / "gallery").glob("*.json") if page == "gallery.md" else ():
        shutil.copy(numbers, folder)
    path = folder / "page.py"
    path.write_text("\n".join(script), "utf-8")
    return path


def reference_pages():
    """The hook of the documentation, as a module."""
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("lab", "claims"), [("regularization", 8), ("batch_norm", 17), ("batch_size", 7)]
)
def test_the_results_shown_are_those_that_were_measured(lab, claims):
    measured = sorted((DOCS / "gallery").glob(f"claims_{lab}*.json"))
    printed = subprocess.run(
        [sys.executable, DOCS / "claims_table.py", *measured],
        env=os.environ | {"PYTHONIOENCODING": "cp1252"}, capture_output=True, check=True,
    ).stdout.decode("utf-8")  # fmt: skip
    assert len(printed.splitlines()) == 2 + claims
    assert f"\n\n{printed}\n" in PAGES["results.md"].read_text("utf-8")
    verdicts = [claim["verdict"] for claim in json.loads(measured[0].read_text("utf-8"))]
    decided = sum(verdict in ("supported", "contradicted", "no effect") for verdict in verdicts)
    (row,) = re.findall(
        rf"^\| `labs/lab_{lab}.py` .*", (ROOT / "README.md").read_text("utf-8"), re.M
    )
    assert f" | {decided} of {claims} | " in row


def test_the_pages_with_code_are_those_that_are_run():
    assert set(WITH_CODE) > LONG
    assert len(WITH_CODE) >= 7


@pytest.mark.parametrize("page", thorough_after(3, sorted(set(WITH_CODE) - LONG)))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    script = write_script(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    runpy.run_path(str(script), run_name="__main__")
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) in map(str, tmp_path.glob("*.py")):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the commands of the tutorials are a shell's")
@pytest.mark.parametrize("page", [name for name in PAGES if name.startswith("tutorials/")])
def test_a_newcomer_can_follow_a_tutorial(page, tmp_path):
    """Run its commands, then its Python, in a folder that holds the repository's `labs`."""
    (tmp_path / "labs").symlink_to(ROOT / "labs")
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def follow(command):
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    for block in shell_blocks(PAGES[page]):
        commands = "".join(line for line in block.splitlines(True) if line.strip() != TOO_LONG)
        done = follow(["bash", "-e", "-c", commands])
        assert done.returncode == 0, done.stderr
    if blocks(PAGES[page]):
        done = follow([sys.executable, write_script(page, tmp_path)])
        assert done.returncode == 0, done.stderr


def test_every_public_name_has_a_page():
    pages = reference_pages()
    for package in pages.PACKAGES:
        found = {name.name for name in pages.public_names(package)}
        module = importlib.import_module(package)
        assert found >= set(getattr(module, "__all__", ())), package
        assert found
    for folder in (ROOT / "dlip_reg").glob("*/__init__.py"):
        if "__all__" in folder.read_text("utf-8"):
            assert f"dlip_reg.{folder.parent.name}" in pages.PACKAGES


def test_a_page_names_the_module_that_defines_the_name():
    pages = reference_pages()
    for package in ("dlip_reg.curvature", "dlip_reg.evidence", "dlip_reg.studies"):
        for name in pages.public_names(package):
            exported = getattr(importlib.import_module(package), name.name)
            assert getattr(importlib.import_module(name.module), name.name) is exported


def documented(package):
    """The functions of a package, and the methods of its classes, by name."""
    for name in reference_pages().public_names(package):
        value = getattr(importlib.import_module(package), name.name)
        members = vars(value).items() if inspect.isclass(value) else [(name.name, value)]
        for member, function in members:
            function = getattr(function, "__func__", function)  # of a class method
            # A field's default may be a function, too.
            is_own = inspect.isfunction(function) and function.__name__ == member
            if is_own and not member.startswith("_"):
                yield function.__qualname__, function


@pytest.mark.parametrize(
    "package", ["dlip_reg.evidence", "dlip_reg.report.figures", "dlip_reg.studies"]
)
def test_every_argument_and_result_is_described(package):
    functions = dict(documented(package))
    assert len(functions) > 15
    for name, function in functions.items():
        text = inspect.getdoc(function)
        signature = inspect.signature(function)
        _, _, described = text.partition("Args:\n")
        for argument in signature.parameters.values():
            bare = argument.replace(annotation=argument.empty, default=argument.empty)
            assert f"    {bare}: " in described or argument.name in ("self", "cls"), (name, bare)
        # All figures return the same.
        if package != "dlip_reg.report.figures" and signature.return_annotation is not None:
            assert re.search("(Returns|Yields):\n", text), name


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_the_network(tmp_path):
    pytest.importorskip("material")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 100
    drawn = [block for block in blocks(PAGES["gallery.md"]) if "figure = " in block]
    assert len(list((tmp_path / "gallery").glob("figure_*.png"))) == len(drawn) > 15
    shown = re.findall(r'src="(gallery/figure_\d+\.png)"', (tmp_path / "gallery.html").read_text())
    assert len(shown) == len(drawn)
    source = r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//"
    link = (
        r"<link[^>]+rel=[\"']?(?:stylesheet|preload|preconnect|icon)[^>]+href=[\"']?(?:https?:)?//"
    )
    for page in pages:
        assert not re.search(f"{source}|{link}", page.read_text("utf-8")), page
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text("utf-8")), sheet
    # From disk, and from a page that lies deeper than others.
    page = open_page(tmp_path / "reference" / "index.html", script=SEARCH)
    assert any(link.endswith("reference/callbacks/Sharpness.html") for link in page.result)
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
