"""pyproject.toml and the files beside it: bounds, extras, versions, and the command `dlip-reg`."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import dlip_reg
from dlip_reg.cli.entry import main
from dlip_reg.extras import EXTRAS, MissingExtraError, installed_version, require_extra

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
BOUNDED = re.compile(r"([a-z0-9-]+)(?:\[\w+\])?>=[\d.]+,<[\d.]+")
OWN_EXTRAS = re.compile(r"dlip_reg\[([\w,]+)\]")


def distributions(extra):
    """The distributions that an extra installs, those of the extras that it names included."""
    found = set()
    for requirement in OPTIONAL[extra]:
        if own := OWN_EXTRAS.fullmatch(requirement):
            found |= set.union(*map(distributions, own[1].split(",")))
        else:
            found.add(BOUNDED.fullmatch(requirement)[1])
    return found


def test_every_requirement_has_a_lower_and_an_upper_bound():
    requirements = PROJECT["dependencies"] + [one for extra in OPTIONAL.values() for one in extra]
    external = [one for one in requirements if not OWN_EXTRAS.fullmatch(one)]
    assert len(external) > 20
    assert [one for one in external if not BOUNDED.fullmatch(one)] == []
    names = [BOUNDED.fullmatch(one)[1] for one in external]
    assert sorted(names) == sorted(set(names)), "a bound is written twice"


def test_requirements_txt_has_no_bounds_of_its_own():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["-e .[dev]"]


def test_the_callbacks_need_four_libraries():
    names = {BOUNDED.fullmatch(one)[1] for one in PROJECT["dependencies"]}
    assert names == {"tensorflow", "keras", "numpy", "scipy"}


def test_private_terms_do_not_come_back():
    """Terms of an earlier, private dialect; readers search for other words."""
    term = re.compile(r"(?<![a-z])(told|sitting|walls|rooms|front[ _]door)(?![a-z])", re.IGNORECASE)
    texts = {".py", ".md", ".html", ".js", ".css", ".toml", ".yml", ".cff"}
    roots = [ROOT / name for name in ("callbacks", "dlip_reg", "docs", "labs")]
    files = [path for root in roots for path in root.rglob("*") if path.suffix in texts]
    files += [path for path in ROOT.iterdir() if path.suffix in texts]
    assert len(files) > 250
    found = [
        (path.relative_to(ROOT), hit)
        for path in files
        if (hit := term.search(path.read_text("utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_the_modules_that_its_features_import(extra):
    distributions_of = importlib.metadata.packages_distributions()
    for module in EXTRAS[extra]:
        names = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions_of[module]}
        assert names & distributions(extra), module


def test_a_missing_library_is_named_with_its_extra():
    with pytest.raises(MissingExtraError) as caught:
        require_extra("labs", "The report", "matplotlib", "no_such_library")
    assert str(caught.value) == (
        "The report needs no_such_library, which is not installed: "
        'run pip install "dlip_reg[labs]".'
    )


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert PROJECT["version"] == dlip_reg.__version__ == str(citation["version"])


def test_the_workflows_test_every_accepted_python_on_three_systems():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert [system.split("-")[0] for system in matrix["os"]] == ["ubuntu", "windows", "macos"]


def test_git_for_windows_leaves_the_line_ends_as_they_are():
    """Tests compare files byte for byte, and a shell runs some of them."""
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text("utf-8").splitlines()


def test_the_workflows_run_every_slow_test():
    """The tutorials, the notebooks and the wheel apart from the others."""
    run, left_out = set(), []
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
            for command in (step.get("run", "") for step in job["steps"]):
                if "pytest" in command and "-m slow" in command:
                    left_out.append(set(re.findall(r"--ignore (\S+)", command)))
                    run |= set(re.sub(r"--ignore \S+", "", command).split())
    tests = {"tests/docs", "tests/labs/test_lab_notebooks.py", "tests/packaging"}
    assert tests <= run
    assert tests in left_out  # by a command that names no others
    assert all((ROOT / test).exists() for test in tests)


@pytest.mark.parametrize("lab", ["batch-norm", "all"])
def test_the_command_lists_the_claims_that_the_script_lists(lab, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)  # the command replaces it
    assert main(["lab", lab, "--list-claims"]) == 0
    script = ROOT / "labs" / f"lab_{lab.replace('-', '_')}.py"
    done = subprocess.run(
        [sys.executable, script, "--list-claims"], capture_output=True, text=True, check=True
    )
    assert capsys.readouterr().out == done.stdout != ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "dlip-reg: the following arguments are required: {lab,tune,check,grade,assign}."),
        (
            ["lab"],
            "dlip-reg lab: the following arguments are required: "
            "{regularization,batch-norm,batch-size,all}.",
        ),
        (["lab", "all", "--seed"], "dlip-reg lab all: unrecognized arguments: --seed."),
        (["tune", "--seed"], "dlip-reg tune: unrecognized arguments: --seed."),
    ],
)
def test_a_wrong_argument_is_answered_in_one_sentence(arguments, sentence, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == sentence + "\n"


def test_the_command_checks_a_submission(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert main(["check", str(tmp_path / "nowhere.py")]) == 2
    assert capsys.readouterr().err.startswith("dlip-reg: There is no ")


def test_without_docstrings_a_lab_says_so_in_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-OO", ROOT / "labs" / "lab_regularization.py", "--preset", "quick"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "python -OO removes the docstrings" in line
    assert not (tmp_path / "runs").exists()


def test_the_callbacks_have_two_names():
    import callbacks
    import dlip_reg.callbacks

    assert dlip_reg.callbacks.__all__ == callbacks.__all__
    for name in callbacks.__all__:
        assert getattr(dlip_reg.callbacks, name) is getattr(callbacks, name)


def test_a_library_from_another_distribution_has_a_version(monkeypatch):
    """As TensorFlow has where tensorflow-cpu or tf-nightly is installed."""
    assert installed_version("keras") == importlib.metadata.version("keras")
    monkeypatch.setitem(sys.modules, "no_such", SimpleNamespace(__version__="2.21.0"))
    assert installed_version("no-such") == "2.21.0"
