"""The distribution: what stands in its metadata, its lowest versions, the citation, and another distribution of the same import."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import probing

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNTRIED = {"quantization", "openvino", "onnx", "trackio", "wandb", "mlflow", "docs", "test"}
"""Extras that `make test-lowest` does not install."""


def lower_bounds() -> dict[str, Version]:
    extras = PROJECT["optional-dependencies"]
    words = PROJECT["dependencies"] + [word for name, words in extras.items() if name not in UNTRIED for word in words]
    found = {}
    for requirement in map(Requirement, words):
        [found[requirement.name]] = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
    return found


def test_the_lowest_versions_are_the_lower_bounds_of_the_project():
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert {name: Version(pin) for name, pin in pins.items()} == lower_bounds()


def test_the_tested_versions_are_within_the_bounds_of_the_project():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:])
    pins = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert pins[requirement.name] in requirement.specifier, requirement


def test_make_test_lowest_names_test_files_and_the_extras_that_are_tried():
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    [listed] = re.findall(r"^LOWEST = (.*)", text, re.M)
    assert not [name for name in listed.split() if not (ROOT / "tests" / f"test_{name}.py").is_file()]
    [extras] = re.findall(r"constraints-lowest.txt .*'\.\[([\w,-]+)\]'", text)
    assert set(extras.split(",")) == set(PROJECT["optional-dependencies"]) - UNTRIED


def test_the_wheel_has_every_file_that_the_package_needs():
    """By the list of the build tool, without a build: code, presets, cards, published numbers, and the mark of typed packages."""
    wheel = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    inside = {file.distribution_path for file in wheel.recurse_included_files()}
    places = {"probing": "probing", "conf": "probing/conf", "tasks": "probing/tasks", "results/published": "probing/published"}
    needed = {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in places.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"probing/py.typed", "probing/conf/config.yaml", "probing/tasks/tree_depth.yaml"} < needed
    assert inside == needed


def test_the_distribution_is_not_named_as_the_tool_on_the_index():
    assert PROJECT["name"] == "probing-bench"
    for folder in ("probing", "docs", "scripts"):
        for path in (path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".txt", ".yaml")):
            assert not re.search(r"""\bpip install ['"]?probing(\[|['"]?\s)""", path.read_text(encoding="utf-8")), path


def test_the_citation_has_the_version_and_names_no_address_that_does_not_exist():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == probing.__version__ and cited["license"] == PROJECT["license"]
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert not {"doi", "url", "repository-code"} & set(cited)
    assert len(cited["references"]) == 3


def install_another(place: Path, files: str = "probing/__init__.py,,\nprobing/config.py,,\n") -> None:
    info = place / "probing-9.1.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text(files)
    (place / "probing").mkdir()
    (place / "probing" / "__init__.py").touch()


def test_another_distribution_of_the_import_is_named_once_and_the_import_works(tmp_path):
    install_another(tmp_path)
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import probing, probing.types; print(probing.evaluate.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)  # a fork has the import already
    assert done.returncode == 0 and done.stdout == "evaluate\n"
    [line] = [line for line in done.stderr.splitlines() if "distribution probing 9.1" in line]
    assert str(tmp_path) in line and line.endswith(": pip uninstall probing")


def test_files_of_another_distribution_among_ours_ask_for_a_new_installation(tmp_path, monkeypatch):
    install_another(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(probing, "__file__", str(tmp_path / "probing" / "__init__.py"))
    message = probing._other_owner()
    assert "mixed" in message and message.endswith("pip uninstall probing; pip install --force-reinstall --no-deps probing-bench")


@pytest.mark.parametrize(
    "files", ["../../../bin/probing,,\n_editable_impl_probing.pth,,\n", "notprobing/probing/__init__.py,,\n", ""]
)
def test_a_distribution_without_the_package_is_no_owner(tmp_path, monkeypatch, files):
    install_another(tmp_path, files)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "nowhere"), ""])
    assert probing._other_owner() is None


def test_our_own_distribution_is_no_other_owner(tmp_path, monkeypatch):
    install_another(tmp_path)
    (tmp_path / "probing-9.1.dist-info").rename(tmp_path / "probing_bench-9.1.dist-info")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert probing._other_owner() is None


def test_the_search_takes_less_than_five_milliseconds(tmp_path, monkeypatch):
    install_another(tmp_path, "x,,\n" * 50)
    for number in range(1000):
        (tmp_path / f"package_{number}-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    seconds = []
    for _ in range(20):
        start = time.process_time()
        probing._other_owner()
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.005
