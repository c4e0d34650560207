"""The small commands: explain, lists, help, completion, dry runs; what they take if nothing is named, what they leave behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import processes
import pytest
import yaml
from toys import ToyEncoder, write_task

from probing import config
from probing.cli import KINDS
from probing.commands import results, words
from probing.data.loading import load
from probing.encoders.pooling import POOLINGS
from probing.errors import ConfigError, DataError
from probing.evaluation.evaluate import compute
from probing.evaluation.planning import plan
from probing.evaluation.request import ALL_FLOORS, Request
from probing.evaluation.runs import Run
from probing.paths import CONF
from probing.probes import load as load_probe
from probing.probes.controls import CONTROLS
from probing.store.results import ResultStore
from probing.store.vectors import DTYPES, Store

ENV = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def probing(*given, cwd=None, **environment):
    return processes.run("-m", "probing", *given, cwd=cwd, env=ENV | environment)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A run.dir with a finished run of two toy encoders on one task."""
    folder = tmp_path_factory.mktemp("home")
    texts = [f"w{k} w{k % 7} w{k % 5 + 50}" for k in range(120)]
    splits = ["tr"] * 80 + ["va"] * 20 + ["te"] * 20
    lines = [(split, "I" if k % 2 else "O", text) for k, (split, text) in enumerate(zip(splits, texts, strict=True))]
    write_task(folder / "bigram_shift.txt", lines)
    tasks, cells = [load("bigram_shift", folder)], ResultStore(folder / "out" / "cells")
    encoders = [ToyEncoder(), ToyEncoder("wider", width=16, n_layers=2)]
    asked = Request.of(load_probe("fast"), None, ["mean"], (0,), ["permuted"], ["majority"])
    planned = plan(tasks, encoders, asked)
    Run.write(folder / "out" / "runs" / "one", {"by": "hand"}, [cell.row for cell in planned], cells)
    compute(planned, Store(folder / "out" / "store"), cells)
    return folder / "out"


def test_the_card_of_a_cell_has_about_fifteen_lines_and_json_has_all(home):
    rows = Run.read(home / "runs" / "one").rows
    row = next(row for row in rows if (row.role, row.encoder, row.layer) == ("control", "toy", 1))
    record = ResultStore(home / "cells").read(row.cell)
    lines = dict(line.split(maxsplit=1) for line in results.explain(row.cell[:12], home, whole=False).splitlines())
    assert 10 <= len(lines) <= 18 and lines["cell"] == row.cell
    for name, part in (
        ("number", f"accuracy {100 * record['rows'][0]['scores']['accuracy'][0]:.1f} % ("),
        ("task", "bigram_shift (BShift): 80/20/20 sentences"),
        ("data", "bigram_shift.txt, sha256 "),
        ("labels", "control permuted, shuffled within each split; seed 0"),
        ("encoder", f"toy, fingerprint {row.encoder_fingerprint[:16]}"),
        ("weights", "the tests"),
        ("place", "layer 1 (toy 1), mean pooling"),
        ("probe", 'fast: estimator="logistic"'),
        ("tried", f"C=0.0001 {100 * record['details']['tried'][0]['dev_accuracy']:.1f}"),
        ("seeds", "control labels 0"),
        ("versions", "python 3"),
        ("made", record["details"]["made"]),
        ("shown", "one (control, bigram_shift, toy)"),
    ):
        assert part in lines[name], name
    whole = json.loads(results.explain(row.cell[:12], home, whole=True))
    assert whole["key"] == row.cell and whole["details"] == record["details"] and whole["measured"] == record["rows"]
    floor = next(row for row in rows if row.role == "floor")
    assert "none: majority reads the text" in results.explain(floor.cell, home, whole=False)


def test_the_best_of_a_task_is_explained_by_task_title_and_encoder(home):
    table = Run.read(home / "runs" / "one").table()
    best = table.best().set_index("encoder")
    both = results.explain_best("BShift", None, home / "runs" / "one", whole=False)
    assert re.findall(r"(?m)^cell +(\w+)$", both) == [best.cell["toy"], best.cell["wider"]]
    one = results.explain_best("bigram_shift", "wider", home / "runs" / "one", whole=False)
    assert one.startswith("best      wider, fast: ") and both.endswith(one)
    assert f"at layer {best.layer['wider']} mean" in one.splitlines()[0]
    with pytest.raises(ConfigError, match="no task 'bigram_shfit' in this run; did you mean 'bigram_shift'?"):
        results.explain_best("bigram_shfit", None, home / "runs" / "one", whole=False)
    with pytest.raises(ConfigError, match="no encoder 'widr' in this run; did you mean 'wider'?"):
        results.explain_best("BShift", "widr", home / "runs" / "one", whole=False)


def test_without_a_name_the_newest_run_is_taken(home, tmp_path):
    for number, name in enumerate(("late", "early")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
        os.utime(tmp_path / "runs" / name / "run.json", (1000 - number, 1000 - number))
    assert results.newest(tmp_path).name == "late"
    (tmp_path / "runs" / "study").mkdir()
    (tmp_path / "runs" / "study" / "manifest.json").write_text("{}")
    assert results.newest(tmp_path).name == "late" and results.newest(tmp_path, ("run.json", "manifest.json")).name == "study"
    with pytest.raises(DataError, match="holds no run"):
        results.newest(tmp_path / "runs")
    (tmp_path / "probing-out").symlink_to(home)
    status = probing("status", cwd=tmp_path)
    assert status.returncode == 0 and "probing-out/runs/one: " in status.stdout
    card = probing("explain", "--best", "BShift", "--encoder", "toy", cwd=tmp_path)
    assert card.returncode == 0 and "toy, fast" in card.stdout
    whole = probing("explain", "--best", "BShift", "--encoder", "toy", "--json", "probing-out/runs/one", cwd=tmp_path)
    assert json.loads(whole.stdout)["key"] in card.stdout
    for given, message in ((["explain"], "explain what?"), (["explain", "a", "--encoder", "toy"], "explain what?")):
        refused = probing(*given, cwd=tmp_path)
        assert refused.returncode == 2 and message in refused.stderr
    empty = probing("report", cwd=tmp_path / "runs")
    assert empty.returncode == 2 and "probing-out holds no run" in empty.stderr


def test_list_alone_lists_the_kinds_and_encoders_have_size_and_needs():
    done = probing("list")
    assert done.returncode == 0 and re.findall(r"(?m)^probing list (\w+)", done.stdout) == list(KINDS)
    done = probing("list", "encoders")
    for name in config.names("encoder"):
        needs = config.fact("encoder", name, "needs")
        assert needs and f"needs {needs}" in done.stdout, name
        missing = [option for option, value in config.read("encoder", name).items() if value == "???"]
        assert all(f"encoder.{option}" in needs for option in missing), "what must be given is named"
    sizes = {
        name: re.match(r"(\d+) layers? of (\d+)", config.fact("encoder", name, "size"))
        for name in words.presets("train", "encoder")
    }
    assert len(sizes) == 7
    for name, size in sizes.items():
        dims = config.build(config.read("encoder", name), "encoder").dims
        assert (len(dims) - 1, dims[-1]) == (int(size[1]), int(size[2])), name


@pytest.mark.parametrize("verb", ["run", "train", "interact", "attribute", "neuron", "check"])
def test_the_help_of_a_verb_has_every_key_with_its_comment_and_three_examples(verb):
    done = probing(verb, "--help")
    assert done.returncode == 0 and done.stderr == ""
    preset = yaml.safe_load((CONF / f"{words.FILES[verb]}.yaml").read_text(encoding="utf-8"))
    given = {name: value for name, value in preset.items() if name != "defaults" and not isinstance(value, dict)}
    for group, options in preset.items():
        given |= {f"{group}.{name}": value for name, value in options.items()} if isinstance(options, dict) else {}
    if verb == "check":
        given = {name: given[name] for name in words.OF_CHECK}
    assert [key.name for key in words.keys(verb)] == list(given)
    for key in words.keys(verb):
        assert yaml.safe_load(key.default) == given[key.name] and key.about, key.name
        assert f"  {key.name}={key.default}\n      {key.about}\n" in done.stdout
    assert len(words.EXAMPLES[verb]) == 3 and all(f"  {example}\n" in done.stdout for example in words.EXAMPLES[verb])
    for example in words.EXAMPLES[verb]:
        known = {key.name for key in words.keys(verb)} | set(words.groups(verb))
        named = [word.partition("=")[0] for word in re.findall(r"[\w.]+=", example.partition("   #")[0].replace('"', ""))]
        assert named and all(name in known or name.partition(".")[0] in (*known, "data") for name in named), example


def test_what_completion_offers_exists():
    assert {*words.CHOICES["pooling"]} == {"all", *POOLINGS} and {*words.CHOICES["controls"]} == {"none", *CONTROLS}
    assert {*words.CHOICES["floors"]} == {"all", "none", *ALL_FLOORS} and {*words.CHOICES["run.store_dtype"]} == {*DTYPES}
    assert words.complete("run", [], "pool") == [f"pooling={value}" for value in words.CHOICES["pooling"]]
    assert words.complete("run", ["encoder", "=", "hf"], "encoder.na") == ["encoder.name="]
    assert words.complete("run", ["encoder=python"], "encoder.tar") == words.complete("run", ["encoder=python"], "encoder.targ")
    assert words.complete("run", ["encoder=python"], "encoder.max") == [], "an option of another encoder"
    assert words.complete("train", ["encoder"], "") == words.presets("train", "encoder") and "bert" not in words.presets(
        "train", "encoder"
    )
    assert words.complete("run", [], "+experiment=fl") == ["+experiment=flash"] and words.complete("run", [], "nothing") == []


def test_bash_completes_verbs_keys_and_values(tmp_path):
    """The script that --show-completion prints, in bash, which parts words at the sign =."""
    shown = probing("--show-completion", "bash")
    assert shown.returncode == 0 and "complete -o default -F _probing_completion probing" in shown.stdout
    (tmp_path / "probing").write_text(f'#!/bin/sh\nexec {sys.executable} -m probing "$@"\n')
    (tmp_path / "probing").chmod(0o755)
    pressed = "COMP_WORDS=(probing run encoder = mi); COMP_CWORD=4; _probing_completion probing; echo ${COMPREPLY[*]}"
    environment = ENV | {"PATH": f"{tmp_path}:{ENV['PATH']}"}
    done = subprocess.run(["bash", "-c", f"{shown.stdout}\n{pressed}"], capture_output=True, text=True, env=environment)
    assert done.stdout == "minilm\n", done.stderr


def test_the_version_is_that_of_the_package():
    import probing as package

    assert probing("--version").stdout == f"probing {package.__version__}\n"


def test_a_reader_that_has_enough_is_no_error():
    """As `probing run --help | head -1`: the pipe is closed before the rest is written."""
    for given in ("run --help", "list tasks"):
        script = f"{sys.executable} -m probing {given} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=ENV)
        assert done.stderr == "" and done.stdout.strip() in ("1", "141"), given


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_dry_run_says_cells_sentences_time_and_size_and_writes_nothing(toy_root, tiny, tmp_path):
    given = ["data=senteval", f"data.root={toy_root}", "encoder=hf", f"encoder.name={tiny('bert')}", "pooling=mean"]
    given += [f"run.dir={tmp_path / 'out'}", "task=bigram_shift", "floors=majority"]
    before = files(tmp_path)
    done = probing("run", *given, "run.dry=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == before
    assert "7 cells: 0 done, 7 to compute" in done.stderr and "3 × probe of tiny-bert" in done.stderr
    assert re.search(r"tiny-bert \(.*\): 520 sentences, about \d+ tokens, .* kB in .*, about .* of memory", done.stderr)
    assert "6 fits: their time is not known yet" in done.stderr
    refused = probing("run", *given, "run.dry=true", "+experiment=flash", cwd=tmp_path)
    assert refused.returncode == 2 and "run.dry=true knows no plan of studies, or of samples that grow" in refused.stderr


def test_hydra_leaves_nothing_behind(toy_root, tmp_path):
    """One run, a typo, and a multirun whose jobs fail; what is left of a run is its own folder."""
    given = ["data=senteval", f"data.root={toy_root}", "encoder=lstm", "encoder.embedding_dim=4", "floors=majority"]
    given += ["controls=none", "pooling=mean"]
    before = files(tmp_path)
    for more in (["task=bigram_shfit"], ["-m", "encoder.init_seed=0,1", "task=bigram_shfit"]):
        done = probing("run", *more, *given, cwd=tmp_path)
        assert done.returncode == 2 and "did you mean 'bigram_shift'" in done.stderr
        assert files(tmp_path) == before, more
    done = probing("run", "-m", *given, "encoder.init_seed=1,0", "encoder.hidden=4", "layer=1", "task=bigram_shift", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "probing-out").iterdir()} == {"cells", "store", "runs", "tables", "finished"}
    [table] = (tmp_path / "probing-out" / "tables").glob("*/table.csv")
    order = re.findall(r"lstm\[embedding_dim=4,hidden=4\] \(untrained (\d)\)", table.read_text(encoding="utf-8"))
    assert list(dict.fromkeys(order)) == ["1", "0"], "encoders in the order in which they were asked for"
