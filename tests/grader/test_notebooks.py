"""Notebooks as submissions: their code as a module, without what only Jupyter understands."""

import builtins
import contextlib
import inspect
import json
import selectors
import sys
from types import ModuleType

import pytest
from archives import hand_in

from dlip_reg.grading import child
from dlip_reg.grading.errors import SubmissionError
from dlip_reg.grading.intake import import_fault, read_submission
from dlip_reg.grading.notebooks import run


def notebook(*sources):
    cells = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"nbformat": 4, "cells": cells}).encode()


@pytest.fixture(autouse=True)
def same_modules(monkeypatch):
    """A process of the sandbox ends with its submission; this one has other tests to run."""
    kept = dict(sys.modules)
    monkeypatch.setattr(child, "_faults", [])
    for name in ("display", "get_ipython"):
        monkeypatch.setattr(builtins, name, None, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    sys.modules.clear()
    sys.modules.update(kept)


def ran(data):
    """What the cells define, and what is said of those that raised."""
    module = ModuleType("__main__")
    faults = run(data, module)
    return vars(module), [fault.text for fault in faults]


def names_in(*sources):
    """What the cells define; none raises."""
    names, faults = ran(notebook(*sources))
    assert faults == []
    return names


CODE = [
    ["%matplotlib inline\n", "!pip install x\n", "a = 1"],
    *("%%bash\nrm -rf /", "%%time\ndef honest(number):\n    return -number", None),
]
CELLS = [{"cell_type": "code", "source": source} for source in CODE]
CELLS += [{"cell_type": kind, "source": "def honest(n): ("} for kind in ("markdown", "raw")]
NOTEBOOK = b"\xef\xbb\xbf" + json.dumps({"nbformat": 4, "cells": [*CELLS, "no cell"]}).encode()


@pytest.mark.parametrize("name", ["ann.ipynb", "ann/work.ipynb"])
def test_a_notebook_is_its_code_without_magics(tmp_path, name):
    hand_in(tmp_path, {name: NOTEBOOK})
    read = read_submission(tmp_path / name.partition("/")[0])
    assert read.main == ("work.ipynb" if "/" in name else "submission.ipynb")
    assert read.files == {read.main: NOTEBOOK}
    names, faults = ran(read.files[read.main])
    assert (names["a"], names["honest"](3), faults) == (1, -3, [])


EXPORTED = [
    "get_ipython().run_line_magic('matplotlib', 'inline')\nfrom IPython.display import Image",
    "import matplotlib.pyplot as plt\nplt.switch_backend('Agg')\nplt.plot([1])\nplt.show()",
    "# -*- coding: euc-kr -*-\n!pip install x\nfrom google.colab import drive\ndrive.mount('/y')",
    '"""A lab."""\n%m\nfrom __future__ import annotations\ndef f(a: b): ...\nassert __doc__',
    "import google.colab.files, os\nfor name in google.colab.files.upload().keys(): 1 / 0\n"
    "for name in get_ipython().getoutput('ls'): 1 / 0\n"
    "from google.colab import userdata\nos.environ['KEY_OF_COLAB'] = userdata.get('KEY')",
    "import ipywidgets as widgets\n@widgets.interact(x=1)\ndef shown(x): ...\n"
    "from IPython.core.magic import Magics, magics_class\n@magics_class\nclass Own(Magics): ...\n"
    "from IPython.utils import io\nwith io.capture_output(): print(1)",
    "get_ipython().magic('time timed = 1')\nassert timed",
]


@pytest.mark.parametrize("first", EXPORTED)
@pytest.mark.parametrize("last", ["", "sys.exit(0)", "argparse.ArgumentParser().parse_args(['x'])"])
def test_a_module_that_was_a_notebook_or_ends_the_program(tmp_path, first, last):
    source = f"{first}\nimport argparse, sys\n# \uac00\ndef honest(number): return -number\n{last}"
    hand_in(tmp_path, {"lab.py": source.encode("euc-kr" if "euc-kr" in first else "utf-8")})
    read = read_submission(tmp_path / "lab.py")
    assert import_fault(read) == ""
    hand_in(tmp_path, read.files)
    module = child.load(str(tmp_path / read.main))
    assert module.honest(3) == -3
    with pytest.raises(child.MissingNameError) as error:
        child.the(module, "other")
    assert ("Its import ended with SystemExit" in str(error.value)) == bool(last)


EXPORTED_CELLS = [
    "get_ipython().run_cell_magic('{magic}', '{file}', {cell!r})",
    "# Commented out IPython magic to ensure Python compatibility.\n"
    "# %%{magic} {file}\n{commented}\n",
]


@pytest.mark.parametrize("exported", EXPORTED_CELLS)
@pytest.mark.parametrize(("magic", "file"), [("time", ""), ("file", "exported_helpers.py")])
def test_cells_with_magics_that_jupyter_or_colab_exported(tmp_path, exported, magic, file):
    cell = "def honest(number):\n\n    return -number"
    text = exported.format(
        magic=magic, file=file, cell=cell, commented="# " + cell.replace("\n", "\n# ")
    )
    after = "from exported_helpers import honest" if file else ""
    (tmp_path / "submission.py").write_text(f"{text}\n{after}\nassert honest(3) == -3\n1 / 0")
    with contextlib.chdir(tmp_path):
        assert child.load("submission.py").honest(2) == -2
    line = 1 + (tmp_path / "submission.py").read_text().count("\n")
    assert [fault.number for fault in child._faults] == [line]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"cells": 1}'])
def test_what_is_no_notebook_needs_staff(tmp_path, data):
    (tmp_path / "ann.ipynb").write_bytes(data)
    with pytest.raises(SubmissionError, match=r"The file (is not JSON|has no cells)"):
        read_submission(tmp_path / "ann.ipynb")


PLAIN = [
    "x = (10\n % 3)",
    "def f(a, n):\n    return (a\n        % n)\nx = f(7, 3)",
    "x = 1 if (2\n!= 3) else 0",
    "x = 10 \\\n% 3",
    'x = len("""\n%a\n!b\n""") - 6',
    "x = len('a\\\n%b') - 2  # (\n",
    'y = "(" # an opening one: ([{"\nx = 1',
    "y = '''a'b(\"\"\"'''; x = {'(': [1]}['('][0]",
    "y = 'a\u2028b\x0c'\nx = 1",
]


@pytest.mark.parametrize("source", PLAIN)
def test_python_is_run_as_it_is(source):
    assert names_in(source)["x"] == 1
    # What stands before and after is still taken for what it is.
    assert names_in(f"%magic\n{source}\n!command")["x"] == 1


MAGIC = ["%m", "!ls -l", "%timeit f(')", "!a \\\n  b \\\n  c", "?help", "a.b??", "y = !ls", "y=%a"]


@pytest.mark.parametrize("magic", MAGIC)
def test_a_magic_is_left_out_and_its_block_stays_one(magic):
    indented = magic.replace("\n", "\n    ")
    for end in ("\n", "\r\n"):
        assert names_in(f"x = 1\n{magic}\ny = 2".replace("\n", end))["y"] == 2
    assert names_in(f"x = 1\nif x:\n    {indented}\r\nz = 3")["z"] == 3


@pytest.mark.parametrize(
    ("first", "kept"),
    [
        ("%%time", True),
        ("%%prun", True),
        ("%%timeit -n 1", True),
        ("\n%%capture out", True),
        ("%%html", False),
    ],
)
def test_cells_in_other_languages_are_left_out(first, kept):
    assert ("x" in names_in(f"{first}\nx = 1")) is kept


def test_the_hand_out_pasted_into_a_later_cell_is_a_module():
    future = "from __future__ import annotations\n"
    later = (f"{future}def f(a: b): ...", "def g(a: b): ...")
    names = names_in("import os", f'"""Text."""\n\n{future}\nx = 1', *later)
    assert names["x"] == 1
    assert names["f"].__annotations__ == names["g"].__annotations__ == {"a": "b"}


def test_what_jupyter_has(tmp_path, monkeypatch, capsys):
    for name in ("IPython", "IPython.display"):  # as keras-tuner imports the real one
        sys.modules[name] = ModuleType(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "run.ipynb").write_bytes(notebook("run = display", "!ls\nrun = 8"))
    names = names_in(
        "from google.colab import drive\ndrive.mount('/content/drive')\n!pip install -q keras",
        "from IPython.core.interactiveshell import InteractiveShell as Shell\nShell.quiet = True",
        "from IPython.display import clear_output, display as show\nclear_output()\nshow('shown')",
        "get_ipython().run_line_magic('matplotlib', 'inline')\n'colab' in str(get_ipython())",
        "%%writefile helpers_of_a_notebook.py\ndef double(x):\n    return 2 * x",
        "%%writefile -a helpers_of_a_notebook.py\ndef triple(x):\n    return double(x) + x",
        "%run -i ./helpers_of_a_notebook.py\n%run another.ipynb\ntwice = double(1)",
        "#@title A form\n%%file 'parts of a notebook/file.py'\npart = 6",
        "%%writefile /content/nowhere/uploaded_by_a_notebook.py\nuploaded = 7",
        "%run run.ipynb\nfrom uploaded_by_a_notebook import uploaded",
        "from IPython import display as ipd\nipd.clear_output(wait=True)",
        "import IPython.display as i\nhandle = i.display(42, display_id=True)\nhandle.update(1)",
        "\n  def indented():\n    return 9\n\n  indented = indented()",
        # Cells run so fast that a folder's time may stay the same.
        "%%writefile first_of_two.py\nget_ipython().magic('m')",
        "import os\nos.utime('.', (1, 1))\nimport first_of_two",
        "%%writefile second_of_two.py\nx = 2",
        "os.utime('.', (1, 1))\nimport second_of_two",
        "part = open('parts of a notebook/file.py').read()\nfirst, second = %time 1, 2",
        "import IPython\nassert IPython.__version__ > '7'\ntriple(13) + 2",
        "answer = _ + 1\ndisplay(answer)",
        "import asyncio\nasync def later():\n    await asyncio.sleep(0.001)\n    return 5",
        "awaited = await later()",
        "await asyncio.gather(later(), later())",
        "%time timed = double(3)\nfiles = !ls\nfor file in files: print(file)",
        "%%writefile submission.py\nwritten = double(4)",
        "if __name__ == '__main__':\n    started = True",
    )
    wanted = ("answer", "awaited", "_", "timed", "files", "started", "twice", "written")
    assert [names[name] for name in wanted] == [42, 5, [5, 5], 6, [], True, 2, 8]
    wanted = ("part", "uploaded", "run", "second", "indented")
    assert [names[name] for name in wanted] == ["part = 6\n", 7, 8, 2, 9]
    assert capsys.readouterr().out == "shown\n42\n42\n"


def test_a_cell_waits_on_windows(monkeypatch):
    def select(self, readers, writers, _, timeout=None):
        assert readers or writers, "An invalid argument was supplied"
        return selectors.select.select(readers, writers, writers, timeout)

    monkeypatch.setattr(selectors.SelectSelector, "_select", select)
    monkeypatch.setattr(sys, "platform", "win32")
    names, said = ran(notebook("import asyncio", "a = await asyncio.sleep(0.001, 5)"))
    assert (names.get("a"), said) == (5, [])


BROKEN = [
    ("a = (1", "Line 1 of code cell 2 raised SyntaxError"),
    ("a = 2\nassert a == 3, 'no'\nb = 4", "Line 2 of code cell 2 raised AssertionError: no"),
    ("!a \\\n  b\n1 / 0", "Line 3 of code cell 2 raised ZeroDivisionError"),
    ("#\n%%R\ndef f(x):\n  x", "Line 1 of code cell 2 raised SyntaxError: A cell with %%R"),
    ("raise SystemExit(3)", "Line 1 of code cell 2 raised SystemExit: 3"),
    ("def f():\n    return 1 / 0\nf()", "Line 2 of code cell 2 raised ZeroDivisionError"),
]


@pytest.mark.parametrize(("cell", "said"), BROKEN)
def test_a_broken_cell_loses_only_what_it_defines(cell, said):
    names, (fault,) = ran(notebook("before = 1", cell, "after = 2"))
    assert (names["before"], names["after"], "b" in names) == (1, 2, False)
    assert fault.startswith(said)


@pytest.mark.parametrize("name", ["lab.py", "lab.ipynb"])
def test_the_sandbox_is_named_once(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    source = "raise OSError('Permission denied')"
    (tmp_path / name).write_bytes(source.encode() if name == "lab.py" else notebook(source))
    with pytest.raises(child.MissingNameError) as error:
        child.the(child.load(name), "other")
    assert child._described(error.value, "")[1].count("If the sandbox refused this") == 1


def test_a_syntax_error_of_a_helper_is_at_the_cells_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_helper.py").write_text("\n\n\ndef f(:")
    _, (fault,) = ran(notebook("x = 1\nimport broken_helper"))
    assert fault.startswith("Line 2 of code cell 1 raised SyntaxError")


def test_the_source_of_a_function_is_found():
    """AutoGraph and keras' messages look for it."""
    function = names_in("\n\ndef f(x):\n    return x")["f"]
    assert inspect.getsource(function) == "def f(x):\n    return x\n"


def test_a_name_of_a_broken_cell_is_missing_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = ("x = 1", "1 / 0", "def sharpness(:\n    pass")
    (tmp_path / "lab.ipynb").write_bytes(notebook(*cells))
    module = child.load("lab.ipynb")
    assert child.the(module, "x") == 1
    why = r"has no sharpness\. Line 1 of code cell 3 raised SyntaxError"
    with pytest.raises(child.MissingNameError, match=why):
        child.the(module, "sharpness")
