"""Exceptions of code that is not ours: what fails, what goes on, what is recorded; and rows that share a cell."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import pytest
import torch
from toys import ToyEncoder, write_task

from probing import Store, evaluate, load_probe, load_task
from probing.errors import EncoderError, ForeignError, StatesError, StoreError, foreign
from probing.evaluation.evaluate import compute
from probing.evaluation.planning import plan
from probing.evaluation.request import Request
from probing.evaluation.runs import Run, rows_that_show
from probing.evaluation.table import merge
from probing.probes.floors import FLOORS
from probing.report.write import write
from probing.store.extraction import HOPELESS
from probing.store.results import ResultStore

PROBE = load_probe("fast", grid=[1.0])


@dataclass
class Broken(ToyEncoder):
    """A toy encoder whose methods raise what the test says, where it says."""

    where: str = "forward"
    error: BaseException | type[BaseException] = IndexError("index out of range in self")
    words: tuple[str, ...] = ()
    twins: bool = True

    def _raise(self, place: str) -> None:
        if place == self.where:
            raise self.error

    @property
    def dims(self):
        self._raise("dims")
        return super().dims

    @property
    def description(self):
        self._raise("description")
        return super().description

    @property
    def origin(self):
        self._raise("origin")
        return "the tests"

    @origin.setter
    def origin(self, value):
        pass

    def tokenize(self, texts):
        if not self.words or any(word in text.split() for text in texts for word in self.words):
            self._raise("tokenize")
        items, truncated = super().tokenize(texts)
        bad = [any(word in text.split() for word in self.words) for text in texts]
        return [[999_999, *item[1:]] if mark else item for item, mark in zip(items, bad, strict=True)], truncated

    def forward(self, items):
        if not self.words or any(item[0] == 999_999 for item in items):
            self._raise("forward")
            if self.where == "states":
                return replace(super().forward([[1, *item[1:]] for item in items]), layers=[torch.zeros(1, 2, 3)])
        return super().forward([[1, *item[1:]] for item in items])

    def release(self):
        self._raise("release")

    def random_twin(self, seed):
        self._raise("random_twin")
        twin = ToyEncoder(name=f"{self.name} (random {seed})", seed=1000 + seed)
        return twin if self.twins else None


@pytest.fixture
def tasks(tmp_path):
    """Two tasks of 48/16/16 sentences; only the second has the word `odd`, in one test sentence."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    root.mkdir()
    for name, labels in (("bigram_shift", "IO"), ("tree_depth", "56")):
        rows = []
        for split, n in (("tr", 48), ("va", 16), ("te", 16)):
            for k in range(n):
                text = " ".join([f"w{k % 2}", *(f"{name[0]}{i}" for i in rng.integers(0, 30, rng.integers(4, 8)))])
                rows.append((split, labels[k % 2], text + (" odd" if (name, split, k) == ("tree_depth", "te", 3) else "")))
        write_task(root / f"{name}.txt", rows)
    return [load_task(name, root) for name in ("bigram_shift", "tree_depth")]


def measure(tasks, tmp_path, *encoders, **options):
    options = {"poolings": ["mean"], "floors": ["majority", "random-weights"], "controls": [], "probe": PROBE} | options
    return evaluate(tasks, encoders, store=Store(tmp_path / "store"), cells=ResultStore(tmp_path / "cells"), **options)


def by_role(frame, status="failed"):
    return frame[frame.status == status].groupby(["task", "role"]).size().to_dict()


# Exceptions of an encoder.


@pytest.mark.parametrize("where", ["forward", "tokenize", "states", "origin"])
def test_an_encoder_that_raises_fails_its_own_cells_and_no_others(tasks, tmp_path, where):
    frame = measure(tasks, tmp_path, Broken(where=where), ToyEncoder(name="good", seed=5)).frame
    assert set(frame.encoder[frame.status == "failed"]) == {"toy"} and (frame.status == "failed").sum() == 6
    assert by_role(frame, "done") == {(t, r): n for t in ("bigram_shift", "tree_depth") for r, n in
                                      (("floor", 1), ("probe", 3), ("random", 6))}  # fmt: skip
    [reason] = set(frame.error[frame.status == "failed"])
    if where == "states":
        assert "toy: running it on 1 sentence(s): " in reason
    else:
        assert "IndexError: index out of range in self (" in reason and "tests/test_failures.py, line " in reason
    again = measure(tasks, tmp_path, ToyEncoder(), ToyEncoder(name="good", seed=5)).frame
    assert (again.status == "done").all(), "tried again by the next run"


def test_a_sentence_that_an_encoder_fails_on_fails_only_the_tasks_that_have_it(tasks, tmp_path):
    for k, where in enumerate(("forward", "tokenize", "states")):
        frame = measure(tasks, tmp_path / str(k), Broken(where=where, words=("odd",))).frame
        assert by_role(frame) == {("tree_depth", "probe"): 3}
        [reason] = set(frame.error[frame.status == "failed"])
        assert "toy has no vectors for 1 of 80 sentences; the first, 'w1 " in reason and " odd': " in reason
    whole = measure(tasks, tmp_path / "whole", ToyEncoder()).frame
    other = frame[frame.task == "bigram_shift"].reset_index(drop=True)
    assert other.accuracy.tolist() == whole.accuracy[whole.task == "bigram_shift"].tolist()


def test_sentences_that_failed_are_tried_again_by_the_next_run_and_not_within_one(tasks, tmp_path):
    broken = Broken(words=("odd",))
    measure(tasks, tmp_path, broken, floors=[])
    counted = ToyEncoder()
    frame = measure(tasks, tmp_path, counted, floors=[]).frame
    assert (frame.status == "done").all() and counted.sentences == len(whole_texts(tasks))
    assert Store(tmp_path / "store").verify()[1] == []


def whole_texts(tasks):
    return {text for task in tasks for split in task.splits.values() for text in split.texts}


def test_sentences_that_fail_only_in_a_batch_are_run_alone(tasks, tmp_path, capsys):
    class NoPadding(ToyEncoder):
        def forward(self, items):
            if len(set(map(len, items))) > 1:
                raise IndexError("the pad token has no row")
            return super().forward(items)

    texts = sorted(whole_texts(tasks))
    vectors = Store(tmp_path / "a").vectors(NoPadding(), texts, ["mean"])
    plain = Store(tmp_path / "b").vectors(ToyEncoder(), texts, ["mean"])
    from probing.types import Representation

    np.testing.assert_allclose(*(v.rows(texts).get(Representation(2, "mean")) for v in (vectors, plain)), atol=1e-5)
    assert "failed in a batch with others, and were run alone" in capsys.readouterr().err


def test_an_encoder_that_fails_on_everything_is_given_up_after_a_few_sentences(tasks, tmp_path):
    @dataclass
    class Counting(ToyEncoder):
        def forward(self, items):
            self.calls += 1
            raise ValueError("no")

    encoder = Counting()
    with pytest.raises(ForeignError, match="ValueError: no"):
        Store(tmp_path / "store").vectors(encoder, whole_texts(tasks), ["mean"])
    assert encoder.calls == HOPELESS + 1


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't")],
)
def test_too_little_memory_is_a_failed_cell_that_says_what_to_do(tasks, tmp_path, error):
    encoder = Broken(error=error)
    frame = measure(tasks[:1], tmp_path, encoder).frame
    assert by_role(frame) == {("bigram_shift", "probe"): 3}
    assert "there was not enough memory: end other programs" in frame.error[frame.status == "failed"].iloc[0]


def test_too_little_memory_of_a_fit_is_a_failed_cell(tasks, tmp_path, monkeypatch):
    from probing.store.reading import Rows

    def full(self, column):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(Rows, "get", full)
    frame = measure(tasks[:1], tmp_path, ToyEncoder(), floors=["majority"]).frame
    assert by_role(frame) == {("bigram_shift", "probe"): 3} and "not enough memory" in frame.error.iloc[-1]


def test_a_full_disk_an_interruption_and_a_mistake_end_the_run(tasks, tmp_path):
    for error, kind in (
        (OSError(errno.ENOSPC, "No space left on device"), StoreError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (EncoderError("torch sees no GPU"), EncoderError),
    ):
        with pytest.raises(kind) as caught:
            measure(tasks[:1], tmp_path, Broken(error=error), floors=[])
        assert not isinstance(caught.value, StatesError)


def test_an_exit_in_somebody_elses_code_fails_a_cell_and_the_end_of_a_slurm_job_does_not():
    with pytest.raises(ForeignError, match="here: SystemExit: 3"), foreign("here"):
        raise SystemExit(3)
    end = type("UncompletedJobError", (RuntimeError,), {"__module__": "submitit.core.utils"})
    with pytest.raises(end), foreign("here"):
        raise end("timed out")
    code = compile("import sys; sys.exit(-1)", "/lib/submitit/core/job_environment.py", "exec")
    with pytest.raises(SystemExit), foreign("here"):  # its signal handler, wherever the job was
        exec(code, {})


def test_an_encoder_that_cannot_be_released_keeps_its_results(tasks, tmp_path):
    assert (measure(tasks[:1], tmp_path, Broken(where="release")).frame.status == "done").all()


# Encoders that cannot say their layers.


@pytest.mark.parametrize("where", ["dims", "description"])
def test_an_encoder_that_cannot_say_its_layers_has_a_failed_cell_per_task(tasks, tmp_path, where):
    table = measure(tasks, tmp_path, Broken(where=where), seeds=[0, 1])
    assert by_role(table.frame) == {("bigram_shift", "probe"): 1, ("tree_depth", "probe"): 1}
    assert by_role(table.frame, "done")["tree_depth", "random"] == 6, "its random twins go on"
    best = table.best()
    assert best.layer.isna().all() and best.accuracy.isna().all()
    assert all("layers: 1 of 1" in text and "index out of range in self" in text for text in best.missing)
    keys = table.frame.cell[table.frame.status == "failed"]
    record = ResultStore(tmp_path / "cells").find(keys.iloc[0])
    assert record["status"] == "failed" and "IndexError" in record["error"] and record["inputs"]["layer"] is None
    again = measure(tasks, tmp_path, ToyEncoder(), seeds=[0, 1])
    assert (again.frame.status == "done").all() and set(keys).isdisjoint(again.frame.cell)
    assert merge([table, again]).best().missing.tolist() == ["", ""], "its real cells take the place of the one that failed"


def test_a_random_twin_that_cannot_be_made_is_a_failed_row_of_that_role(tasks, tmp_path):
    table = measure(tasks[:1], tmp_path, Broken(where="random_twin"))
    failed = table.frame[table.frame.status == "failed"]
    assert failed[["role", "encoder", "twin_of"]].to_numpy().tolist() == [["random", "toy (random 0)", "toy"]]
    [line] = table.best().itertuples()
    assert line.layer >= 0 and np.isnan(line.random) and line.missing == "random weights: 1 of 1"


# Exceptions of probes and floors.


def test_a_probe_that_raises_or_gives_too_little_fails_its_cells(tasks, tmp_path):
    class Mine:
        name = "mine"

        def settings(self, task):
            return {"mine": task}

        def seed(self, seed):
            return None

        def columns(self, columns):
            return list(columns)

        def fit(self, load, columns, label_sets, task, n_classes, seed):
            [column] = columns
            if column.layer == 1:
                raise ZeroDivisionError("division by zero")
            for _, which, result in PROBE.fit(load, columns, label_sets, task, n_classes, seed):
                yield column, which, replace(result, predictions=result.predictions[:3]) if column.layer == 2 else result

    frame = measure(tasks[:1], tmp_path, ToyEncoder(), floors=["majority"], probe=Mine()).frame
    state = frame[frame.role == "probe"].set_index("layer")
    assert state.status.to_dict() == {0: "done", 1: "failed", 2: "failed"}
    assert "probe mine: ZeroDivisionError: division by zero (" in state.error[1] and "test_failures.py, line" in state.error[1]
    assert "probe mine: reading its result: " in state.error[2]


def test_a_floor_that_raises_fails_alone_and_the_line_says_so(tasks, tmp_path, monkeypatch):
    def broken(task):
        raise ValueError("empty vocabulary")

    monkeypatch.setitem(FLOORS, "length", broken)
    table = measure(tasks[:1], tmp_path, ToyEncoder(), floors=["majority", "length"])
    assert by_role(table.frame) == {("bigram_shift", "floor"): 1}
    assert table.best().missing.tolist() == ["floor length: 1 of 1"]


def test_our_own_fault_is_not_taken_for_somebody_elses(tasks, tmp_path, monkeypatch):
    def fault(*given):
        raise KeyError("ours")

    monkeypatch.setattr("probing.evaluation.folds.control_task", fault)
    with pytest.raises(KeyError, match="ours"):
        measure(tasks[:1], tmp_path, ToyEncoder(), controls=["permuted"])


# Rows that share a cell.


def test_a_random_twin_that_is_given_too_keeps_both_rows(tasks, tmp_path):
    encoder = ToyEncoder()
    alone = measure(tasks[:1], tmp_path, encoder)
    both = measure(tasks[:1], tmp_path, encoder, encoder.random_twin(0))
    assert not np.isnan(alone.best().random[0])
    assert both.best().random[0] == alone.best().random[0]
    shared = both.frame[both.frame.encoder == "toy (random 0)"]
    assert sorted(shared.role) == ["probe"] * 3 + ["random"] * 3 and shared.cell.nunique() == 3
    across = merge([measure(tasks[:1], tmp_path, encoder.random_twin(0), floors=[]), alone])
    assert across.best().set_index("encoder").random["toy"] == alone.best().random[0]


def test_the_same_weights_under_two_labels_keep_both_rows_and_are_computed_once(tasks, tmp_path):
    one, two = ToyEncoder(name="one"), ToyEncoder(name="two")
    table = measure(tasks[:1], tmp_path, one, two, controls=["permuted"])
    assert table.best().encoder.tolist() == ["one", "two"] and two.calls == 0
    assert table.best().control_permuted.nunique() == 1 and not table.best().random.isna().any()
    again = merge([measure(tasks[:1], tmp_path, encoder, controls=["permuted"]) for encoder in (one, two)])
    assert again.best().drop(columns="encoder").astype(str).equals(table.best().drop(columns="encoder").astype(str))


def test_a_run_counts_cells_once_and_keeps_all_rows(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("probing.report.write._pictures", lambda *given: [])
    cells, store = ResultStore(tmp_path / "cells"), Store(tmp_path / "store")
    settings = Request(PROBE, poolings=("mean",), floors=("random-weights",), controls=())
    planned = plan(tasks[:1], [ToyEncoder(), ToyEncoder(name="again"), ToyEncoder().random_twin(0)], settings)
    run = Run.write(tmp_path / "runs" / "one", {}, [cell.row for cell in planned], cells)
    compute(planned, store, cells)
    run = Run.read(tmp_path / "runs" / "one")
    assert len(run.rows) == 3 * 6 and len(run.keys) == len(run.state()["done"]) == 6
    assert len(run.table().frame) == 18 and set(run.encoder_descriptions()) >= {"toy", "again", "toy (random 0)"}
    shown = rows_that_show(next(row.cell for row in run.rows if row.role == "random"), tmp_path)
    assert {(row["role"], row["encoder"], row["twin_of"]) for row in shown} == {
        ("random", "toy (random 0)", "toy"),
        ("random", "again (random 0)", "again"),
        ("probe", "toy (random 0)", ""),
        ("random", "toy (random 0) (random 0)", "toy (random 0)"),
    }
    write([run], tmp_path / "report")
    text = (tmp_path / "report" / "table.md").read_text()
    assert "| again |" in text and "| toy (random 0) |" in text


# What the keys and records say.


def test_controls_of_several_seeds_have_other_scores(tasks, tmp_path):
    frame = measure(tasks[:1], tmp_path, ToyEncoder(), floors=[], controls=["permuted"], seeds=range(4), layers=[1]).frame
    control = frame[frame.role == "control"]
    assert control.cell.is_unique and len(control) == 4 and control.dev_accuracy.nunique() > 1


def test_a_version_of_the_scores_changes_every_key(tasks, monkeypatch):
    def keys():
        return {cell.key for cell in plan(tasks[:1], [ToyEncoder()], Request(PROBE))}

    first = keys()
    monkeypatch.setattr("probing.evaluation.statistics.VERSION", 99)
    assert first.isdisjoint(keys())


def test_receipts_and_cells_say_versions_and_processor(tasks, tmp_path):
    from probing.files import read_sealed

    frame = measure(tasks[:1], tmp_path, ToyEncoder(), floors=["majority"], layers=[1]).frame
    [receipt] = [read_sealed(path) for path in (tmp_path / "store").glob("*/*/*/0*.json")]
    made = receipt["made_with"]
    assert {"torch", "transformers", "numpy", "processor"} == set(made) and made["torch"] == version("torch")
    assert set(made["processor"]) == {"name", "threads", "bfloat16"} and made["processor"]["threads"] == torch.get_num_threads()
    details = ResultStore(tmp_path / "cells").read(frame.cell[frame.role == "probe"].iloc[0])["details"]
    assert details["encoder"]["extracted_with"] == [made] and details["processor"] == made["processor"]
    assert details["versions"]["torch"] == made["torch"]


# The commands.


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            ForeignError("bert: running it: IndexError: index out of range (modeling_bert.py, line 3)"),
            1,
            "probing: bert: running it",
        ),
        (StatesError("no token at all"), 2, "probing: no token at all"),
        (MemoryError("Unable to allocate"), 1, "probing: MemoryError: Unable to allocate"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "there was not enough memory: end other programs"),
        (KeyError("ours"), 1, "KeyError: 'ours'\nprobing: this is a fault of probing"),
    ],
)
def test_only_our_own_faults_have_a_traceback_and_an_address(monkeypatch, capsys, error, code, message):
    from probing import cli, files
    from probing import run as commands

    def work(config):
        raise error

    monkeypatch.setattr(commands, "_exit_codes", [])
    monkeypatch.setenv(commands._PARENT, files.process())
    commands._guarded(work, None)
    err = capsys.readouterr().err
    assert commands._exit_codes == [code] and message.replace("\n", "") in err.replace("\n", "")
    ours = isinstance(error, KeyError)
    assert ("Traceback" in err) == ours
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return

    def app(**options):
        raise error

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr("sys.argv", ["probing", "status", "a folder"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capsys.readouterr().err
    assert end.value.code == code and ("Traceback" in err) == ours
    if ours:
        said = " ".join(err.split())
        assert "please report the text above to The probing authors, with the command (probing status 'a folder')" in said
        assert "torch 2." in said


def test_a_job_in_a_launchers_worker_raises_so_that_the_sweep_knows(monkeypatch):
    from probing import run as commands

    def work(config):
        raise ForeignError("bert: running it")

    monkeypatch.setattr(commands, "_exit_codes", [])
    monkeypatch.setenv(commands._PARENT, "another process")
    with pytest.raises(commands.JobFailed) as failed:
        commands._guarded(work, None)
    assert failed.value.args == (1,)


def test_a_request_keeps_its_name_when_its_encoder_can_say_its_layers_again(tasks):
    from probing.evaluation.planning import request_key

    settings = Request(PROBE, poolings=("mean",))

    def key(encoder, settings=settings, tasks=tasks):
        return request_key(tasks, plan(tasks, [encoder], settings), settings)

    assert key(Broken(where="dims")) == key(ToyEncoder())
    others = [key(ToyEncoder(seed=1)), key(ToyEncoder(), replace(settings, seeds=(1,))), key(ToyEncoder(), tasks=tasks[:1])]
    assert len({key(ToyEncoder()), *others}) == 4
