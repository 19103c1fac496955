import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from public_stub import STUB, stub

import blocklearn

ROOT = Path(__file__).parents[1]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_import_loads_nothing_heavy_and_prints_nothing() -> None:
    heavy = "{'torch', 'lightning', 'timm', 'wandb', 'matplotlib', 'sklearn'}"
    done = run_python(
        f"import sys, blocklearn; assert not {heavy} & set(sys.modules), sys.modules.keys()"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_resolves_without_wandb() -> None:
    code = (
        "import sys, warnings; sys.modules['wandb'] = None; warnings.simplefilter('default')\n"
        "import blocklearn; print(len([getattr(blocklearn, name) for name in blocklearn.__all__]))"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(blocklearn.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Blok'"):
        _ = blocklearn.Blok  # pyright: ignore[reportAttributeAccessIssue]


def test_type_checkers_are_told_where_every_public_name_comes_from() -> None:
    assert STUB.read_text() == stub(), "python tests/public_stub.py"
    assert STUB.with_name("py.typed").is_file()


def test_no_file_names_a_repository_that_is_not_there() -> None:
    told = [*ROOT.glob("*.*"), *(ROOT / ".github").rglob("*.yml"), *(ROOT / "docs").glob("*.md")]
    address = "github.com/" + "blocklearn"
    assert not [path for path in told if path.is_file() and address in path.read_text()]


def test_the_citation_has_the_packages_version_and_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    papers = {work["url"]: work for work in citation["references"]}
    assert citation["version"] == blocklearn.__version__
    assert papers.keys() == {f"https://arxiv.org/abs/{n}" for n in ("2302.01647", "1905.11786")}
    assert all({"title", "authors", "year"} <= work.keys() for work in papers.values())


def test_the_pinned_packages_are_what_the_project_asks_for_with_a_hash_each() -> None:
    """`make lock` writes the file; it names no index, and a dependency that is added must be in
    it."""
    root = Path(__file__).parents[1]
    text = (root / "requirements.lock").read_text()
    pinned = {
        Requirement(entry).name: Requirement(entry)
        for entry in re.findall(r"^(\S+==\S+)", text, re.MULTILINE)
    }
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?:|file:|--(extra-)?index|--find", text)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    for asked in (
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
        *project["optional-dependencies"]["docs"],
    ):
        requirement = Requirement(asked)
        (version,) = pinned[requirement.name].specifier
        assert requirement.specifier.contains(version.version), asked


def test_the_files_that_the_documents_name_are_there() -> None:
    root = Path(__file__).parents[1]
    pages = [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")]
    named = re.compile(r"\b(?:tests|blocklearn|benchmarks|docs|configs)/[\w/]+\.(?:py|md|yaml)")
    missing = {
        f"{page.name}: {name}"
        for page in pages
        if page.name != "log.md"  # of its time
        for name in named.findall(page.read_text())
        if not (root / name).exists()
    }
    assert not missing
