"""The documentation: its commands exist, what runs offline runs, links resolve, messages and columns are those of the code."""

import ast
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import processes
import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(page for page in sorted(DOCS.rglob("*.md")) if page.parent.name != "decisions"),
    *(ROOT / name for name in ("AGENTS.md", "README.md", "README.zh-CN.md")),
]
HYDRA = {
    "run": "config", "check": "config", "train": "train", "interact": "interact", "score": "score", "neuron": "neuron",
    "attribute": "attribute",
}  # fmt: skip
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b")
"""A word in capitals stands for something of the reader's."""
RUNNER = runpy.run_path(str(ROOT / "scripts" / "docs" / "tutorials.py"))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


def commands(path: Path) -> list[tuple[list[str], str]]:
    """The commands `probing …` of a page's shell blocks, as words, each with its comment."""
    lines = "".join(blocks(path, "sh")).replace("\\\n", " ").splitlines()
    parted = [(line.partition(" #")[0], line.partition(" #")[2]) for line in lines]
    return [(shlex.split(line)[1:], comment) for line, comment in parted if line.startswith("probing ")]


def spans(path: Path) -> list[list[str]]:
    """The commands in running text that are complete: `probing verb …` without an ellipsis."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    complete = re.findall(r"`(probing [^`]+)`", text)
    return [shlex.split(one)[1:] for one in complete if "…" not in one]


def first_of(word: str) -> str:
    """The word with the first value of a sweep."""
    from probing.run import _as_text

    key, equals, value = word.partition("=")
    value = re.split(r",(?=\[)", value)[0]
    if key in ("encoder", "objective", "data", "probe") or key.endswith((".path", ".name", ".revision")):
        value = value.split(",")[0]
    verb = "attribute" if key == "method" else ""  # its methods are no sweep
    return _as_text(key + equals + value.replace("|", "_"), verb)


def test_the_reader_of_commands_sees_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nprobing run a=1 \\\n  'b=[x y]'  # needs c\nmake run\n```\n`probing list tasks` `probing run …`\n")
    assert commands(page) == [(["run", "a=1", "b=[x y]"], " needs c")] and spans(page) == [["list", "tasks"]]
    assert sum(len(commands(path)) for path in PAGES) > 40


def test_every_command_of_the_pages_exists():
    import parsed
    from hydra import compose, initialize_config_dir
    from typer.main import get_command

    from probing.cli import app
    from probing.paths import CONF

    parsed.once()
    root = get_command(app)
    known = root.commands
    assert {words[0] for path in PAGES for words, _ in commands(path)} == set(known)  # each command has an example
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    chosen: dict[tuple[str, ...], list[dict[str, str]]] = {}  # by file and presets: words by key, those of many commands in one
    for path in PAGES:
        for words in [*(words for words, _ in commands(path)), *spans(path)]:
            verb, *rest = words
            command = root if verb.startswith("-") else known.get(verb)
            assert command is not None, f"{path.name}: probing {verb}"
            if verb in HYDRA and "--help" not in rest:
                given = [first_of(word) for word in rest if word not in ("-m", "--multirun")]
                presets = sorted(word for word in given if word.partition("=")[0].lstrip("+") in groups)
                own = {word.partition("=")[0]: word for word in given if word not in presets}
                together = chosen.setdefault((HYDRA[verb], *presets), [{}])
                if not all(together[-1].get(key, word) == word for key, word in own.items()):
                    together.append({})
                together[-1].update(own)
                continue
            if verb == "store" and rest:
                command = command.commands[rest[0]]
            options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            assert {word for word in words if word.startswith("--")} <= options, f"{path.name}: probing {' '.join(words)}"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for (name, *presets), together in chosen.items():  # which keys there are depends on the presets alone
            for own in together:
                compose(name, [*presets, *own.values()], return_hydra_config=True)  # unknown keys and presets are errors


def test_a_command_with_an_unknown_key_is_noticed():
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    from probing.paths import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(HydraException):
        compose("config", ["poling=mean"])


def test_what_runs_offline_runs(tmp_path):
    """In one folder, page after page: commands without a placeholder and without "needs", and the Python blocks."""
    ran = []
    for path in [DOCS / "quickstart.md", DOCS / "howto.md", DOCS / "data.md", DOCS / "results.md"]:
        for words, comment in commands(path):
            if PLACEHOLDER.search(" ".join(words)) or "needs" in comment:
                continue
            paths = [sorted(map(str, tmp_path.glob(word))) if "*" in word else [word] for word in words]
            done = processes.run("-m", "probing", *sum(paths, []), cwd=tmp_path)
            assert done.returncode == 0, (words, done.stderr)
            ran.append(words[0])
    assert {"list", "run", "status", "report", "explain", "store", "interact"} <= set(ran)
    code = [block for name in ("quickstart", "howto", "results") for block in blocks(DOCS / f"{name}.md", "python")]
    done = processes.run("-c", "\n".join(code), cwd=tmp_path)
    assert len(code) >= 3 and done.returncode == 0, done.stderr


def test_links_of_the_pages_resolve():
    for path in [*PAGES, DOCS / "llms.txt"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)):
            name, _, anchor = target.partition("#")
            if name.startswith("http"):
                continue
            there = path.parent / name if name else path
            assert there.is_file(), f"{path.name}: {target}"
            if anchor and there.suffix == ".md":
                heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
                assert anchor in [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads], target


def test_llms_txt_and_the_menu_name_every_page():
    listed = set(re.findall(r"\]\(([^)]+)\)", (DOCS / "llms.txt").read_text(encoding="utf-8")))
    pages = {str(path.relative_to(DOCS)) for path in PAGES if path.is_relative_to(DOCS)}
    assert pages - {"index.md"} == listed
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert pages == set(re.findall(r": ([\w/-]+\.md)$", menu, re.M))


def strings_of_the_code() -> str:
    """All string literals of the package, one a line; a literal that was cut into several is one."""
    texts = []
    for path in (ROOT / "probing").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_every_message_of_the_troubleshooting_page_is_one_of_the_code():
    code = strings_of_the_code()
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    messages = [row.split(" | ")[0].removeprefix("| ") for row in re.findall(r"^\| (?!message|---).*$", text, re.M)]
    assert len(messages) > 40
    for message in messages:
        parts = [part.strip() for part in message.split("…")]
        assert max(map(len, parts)) > 8, message
        for part in parts:
            assert part in code, f"{message}: {part!r}"


def test_the_columns_of_rows_csv_are_those_of_the_results_page():
    from probing.evaluation.rows import Row, frame_of, to_lines

    columns = list(to_lines(frame_of([Row("probe", "t", "T")])).columns)
    section = (DOCS / "results.md").read_text(encoding="utf-8").partition("## rows.csv")[2].partition("```")[0]
    named = [name for cell in re.findall(r"^\| ([^|]*) \|", section, re.M)[1:] for name in cell.split(", ")]
    assert sorted(columns) == sorted(named)


def test_pages_of_tutorials_hold_their_scripts():
    names = sorted(path.stem for path in (DOCS / "tutorials").glob("*.py"))
    assert sorted(RUNNER["ORDER"]) == names
    for name in names:
        page = (DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
        script = (DOCS / "tutorials" / f"{name}.py").read_text(encoding="utf-8")
        at = 0
        for kind, text, _ in RUNNER["cells"](script):
            cell = text if kind == "markdown" else f"```python\n{text}\n```"
            at = page.find(cell, at)
            assert at >= 0, f"{name}: make tutorials"


@pytest.mark.slow
def test_tutorials_run(tmp_path):
    done = processes.run(ROOT / "scripts" / "docs" / "tutorials.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in tmp_path.iterdir() if path.suffix in (".md", ".svg")}
    assert made == {path.name for path in (DOCS / "tutorials").iterdir() if path.suffix in (".md", ".svg")}
    text = (tmp_path / "first_table.md").read_text(encoding="utf-8")
    assert "the floor that is not beaten: random weights" in text  # what the tutorial says in words


def test_the_task_of_the_tutorials_is_made_by_its_script():
    script = runpy.run_path(str(ROOT / "scripts" / "docs" / "agent_task.py"))
    assert "".join(script["rows"]()) == (DOCS / "tutorials" / "data" / "agent.txt").read_text(encoding="utf-8")


def test_both_readmes_hold_the_same_commands():
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "README.zh-CN.md" in english
    without_comments = [
        [re.sub(r"\s*#.*", "", line) for block in blocks(ROOT / name, language) for line in block.splitlines()]
        for name in ("README.md", "README.zh-CN.md")
        for language in ("sh", "python", "text")
    ]
    assert without_comments[:3] == without_comments[3:] and all(without_comments)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_the_web(tmp_path):
    pytest.importorskip("mkdocs", reason="not installed: mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    pages = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html"))
    loaded = re.findall(r'<(?:script[^>]* src|link[^>]* rel="stylesheet"[^>]* href|img[^>]* src)="(https?:[^"]+)', pages)
    assert not loaded, loaded[:3]
