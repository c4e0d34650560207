"""The store computes once, survives anything, and never returns wrong vectors."""

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from toys import ToyEncoder

from probing.encoders import pooling as poolings_module
from probing.errors import ConfigError, EncoderError, StoreError
from probing.files import atomic, process, writer
from probing.store import vectors as store_module
from probing.store.extraction import extract
from probing.store.locks import gone
from probing.store.segments import memory_map, read_segment, write_plan
from probing.store.vectors import Store
from probing.types import Representation

POOLINGS = ("cls", "mean", "max", "last")
TEXTS = [f"a{i} b{i % 7} c" + " d" * (i % 5) for i in range(120)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 4 * 12 * 3 * 4 * 16)  # 16 rows of the toy encoder


def direct(encoder, texts, column):
    return extract(encoder, encoder.tokenize(texts)[0], POOLINGS)[column]


def shards(root: Path) -> list[Path]:
    return sorted(root.glob("*/*/*/*.safetensors"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.suffix != ".lock"}


def test_vectors_come_back_in_the_order_asked_for(tmp_path, toy_encoder):
    vectors = Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    requested = [TEXTS[5], TEXTS[90], TEXTS[5], TEXTS[0]]
    for column in (Representation(0, "cls"), Representation(1, "max"), Representation(2, "mean"), Representation(2, "last")):
        np.testing.assert_allclose(vectors.rows(requested).get(column), direct(toy_encoder, requested, column), atol=1e-6)


def test_a_sentence_goes_through_the_encoder_once(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS + TEXTS[:50], POOLINGS)
    assert toy_encoder.sentences == len(TEXTS)
    Store(tmp_path).vectors(toy_encoder, TEXTS[::-1], POOLINGS)
    assert toy_encoder.sentences == len(TEXTS)
    vectors = Store(tmp_path).vectors(toy_encoder, [*TEXTS, "a new one"], POOLINGS)
    assert toy_encoder.sentences == len(TEXTS) + 1
    column = Representation(1, "mean")
    np.testing.assert_allclose(
        vectors.rows(["a new one", TEXTS[3]]).get(column), direct(ToyEncoder(), ["a new one", TEXTS[3]], column), atol=1e-6
    )


def test_another_encoder_of_the_same_width_never_shares_vectors(tmp_path):
    one, other = ToyEncoder(seed=0), ToyEncoder(seed=1)
    features = [Store(tmp_path).vectors(e, TEXTS, ["mean"]).rows(TEXTS).get(Representation(1, "mean")) for e in (one, other)]
    assert np.abs(features[0] - features[1]).max() > 0.1


def test_fewer_poolings_are_read_from_a_folder_that_has_them(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS, ["cls", "mean"])
    Store(tmp_path).vectors(toy_encoder, TEXTS, ["mean"])
    assert toy_encoder.sentences == len(TEXTS)
    Store(tmp_path).vectors(toy_encoder, TEXTS, ["max"])
    assert toy_encoder.sentences == 2 * len(TEXTS)


def test_the_estimate_counts_what_is_missing(tmp_path, toy_encoder):
    store = Store(tmp_path)
    cost = store.estimate(toy_encoder, TEXTS + TEXTS, POOLINGS)
    assert (cost.sentences, cost.bytes) == (len(TEXTS), len(TEXTS) * 4 * 12 * 3 * 4)
    assert cost.seconds > 0 and not shards(tmp_path)
    store.vectors(toy_encoder, TEXTS, POOLINGS)
    assert store.estimate(toy_encoder, TEXTS, POOLINGS).sentences == 0


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing", "receipt", "bytes"])
def test_damaged_shards_are_found_and_computed_again_with_the_same_bytes(tmp_path, toy_encoder, damage):
    store = Store(tmp_path)
    store.vectors(toy_encoder, TEXTS, POOLINGS)
    before = contents(tmp_path)
    victim = shards(tmp_path)[2]
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "truncate":
        victim.write_bytes(content[:-8])
    elif damage == "empty":
        victim.write_bytes(b"")
    elif damage == "missing":
        victim.unlink()
    elif damage == "bytes":
        victim.with_suffix(".json").write_bytes(b"\xff")
    else:
        victim.with_suffix(".json").write_text("{")
    intact, damaged = store.verify()
    assert damaged == [victim] and intact == len(shards(tmp_path) + [victim] * (damage == "missing")) - 1
    seen = toy_encoder.sentences
    Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    assert toy_encoder.sentences == seen + 16, "only the damaged shard is computed"
    assert contents(tmp_path) == before
    assert store.verify() == (len(shards(tmp_path)), [])


def test_a_damaged_list_of_sentences_is_planned_again(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    before = contents(tmp_path)
    [plan] = tmp_path.glob("*/*/*/sentences.json")
    plan.write_text(plan.read_text().replace("a5 b5", "a5 b6"))
    vectors = Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    assert contents(tmp_path) == before
    column = Representation(1, "mean")
    np.testing.assert_allclose(vectors.rows(TEXTS).get(column), direct(toy_encoder, TEXTS, column), atol=1e-6)


WORKER = """
import sys, time
sys.path.insert(0, {tests!r})
from toys import ToyEncoder
from probing.store import vectors as s
s.SHARD_BYTES = 4 * 12 * 3 * 4 * 16
class Slow(ToyEncoder):
    def forward(self, items):
        time.sleep({pause})
        open({log!r}, "a").write(f"{{len(items)}}\\n")
        return super().forward(items)
{first}
texts = [f"a{{i}} b{{i % 7}} c" + " d" * (i % 5) for i in range({start}, {stop})]
s.Store({root!r}).vectors(Slow(), texts, ("cls", "mean", "max", "last"))
"""


def worker(root: Path, pause: float, start: int = 0, stop: int = 120, first: str = "", **environment: str) -> processes.Started:
    code = WORKER.format(
        tests=str(Path(__file__).parent), pause=pause, log=str(root) + ".log", root=str(root), start=start, stop=stop, first=first
    )
    return processes.Started("-c", code, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)


def test_killed_at_random_moments_it_resumes_and_ends_with_the_same_bytes(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert worker(whole, 0).wait() == 0
    kills = 0
    for wanted, how in ((1, signal.SIGKILL), (3, signal.SIGTERM), (6, signal.SIGKILL)):  # SIGTERM: what Slurm sends first
        process = worker(broken, 0.05)
        while process.poll() is None and len(shards(broken)) < wanted:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(how)
            kills += 1
        process.wait()
    assert kills == 3
    assert 0 < len(shards(broken)) < len(shards(whole))
    assert worker(broken, 0).wait() == 0
    assert contents(broken) == contents(whole)


def test_two_processes_compute_every_sentence_once(tmp_path):
    root = tmp_path / "store"
    both = [worker(root, 0.03), worker(root, 0.03)]
    assert [process.wait() for process in both] == [0, 0]
    assert sum(int(line) for line in Path(f"{root}.log").read_text().split()) == len(TEXTS)
    assert Store(root).verify() == (len(shards(root)), [])


def test_jobs_with_other_tasks_share_the_sentences_that_both_need(tmp_path):
    root = tmp_path / "store"
    both = [worker(root, 0.03, 0, 80), worker(root, 0.03, 40, 120, SLURM_ARRAY_TASK_ID="1")]
    assert [process.wait() for process in both] == [0, 0]
    assert sum(int(line) for line in Path(f"{root}.log").read_text().split()) == len(TEXTS)
    assert Store(root).verify()[1] == []


def test_without_locks_the_work_is_done_twice_and_nothing_is_damaged(tmp_path):
    """As on a file system whose locks hold on one machine only."""
    assert worker(tmp_path / "one", 0).wait() == 0
    root = tmp_path / "store"
    no_locks = "from contextlib import nullcontext\ns.locked = lambda path, wait=True: nullcontext(True)"
    together = f"""
ready = {str(root) + ".ready"!r}
open(ready, "a").write("x")
while len(open(ready).read()) < 3:
    time.sleep(0.01)
"""
    several = [worker(root, 0.1, first=no_locks + together) for _ in range(3)]
    assert [process.wait() for process in several] == [0, 0, 0]
    assert contents(root) == contents(tmp_path / "one")
    assert sum(int(line) for line in Path(f"{root}.log").read_text().split()) > len(TEXTS)  # there were no locks


def test_a_lock_file_left_behind_blocks_nobody(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS[:20], POOLINGS)
    for lock in tmp_path.rglob("*.lock"):
        lock.write_text("99999")
    shards(tmp_path)[0].unlink()
    Store(tmp_path).vectors(toy_encoder, TEXTS[:20], POOLINGS)
    assert Store(tmp_path).verify()[1] == []


def test_a_full_disk_is_said_and_leaves_a_valid_store(tmp_path, toy_encoder, monkeypatch):
    import safetensors.numpy

    real, calls = safetensors.numpy.save_file, []

    def full(tensors, path):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(StoreError, match=r"disk of .* is full; free some space, then run the same command again"):
        Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    assert Store(tmp_path).verify() == (2, [])
    assert not list(tmp_path.rglob("*.tmp"))
    seen = toy_encoder.sentences
    monkeypatch.undo()
    monkeypatch.setattr(store_module, "SHARD_BYTES", 4 * 12 * 3 * 4 * 16)
    Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    assert toy_encoder.sentences == seen + len(TEXTS) - 32


def test_too_little_space_is_said_before_the_work(tmp_path, toy_encoder, monkeypatch):
    import shutil

    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(StoreError, match=r"120 sentences × 3 layers × 4 poolings need 69.1 kB, but .* has 1.0 kB free"):
        Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    assert toy_encoder.calls == 0


def test_a_folder_that_cannot_be_written_is_said(tmp_path, toy_encoder):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="a file of that name is in the way"):
        Store(tmp_path / "file" / "store").vectors(toy_encoder, TEXTS, POOLINGS)


def test_states_that_are_not_finite_never_reach_the_disk(tmp_path):
    with pytest.raises(EncoderError, match="not finite"):
        Store(tmp_path).vectors(ToyEncoder(poison="a3 "), TEXTS, POOLINGS)
    column = Representation(0, "mean")
    vectors = Store(tmp_path).vectors(ToyEncoder(), TEXTS, POOLINGS)
    assert np.isfinite(vectors.rows(TEXTS).get(column)).all()


def test_a_plan_that_says_other_shard_sizes_is_not_believed(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    before = contents(tmp_path)
    [plan] = tmp_path.glob("*/*/*/sentences.json")
    plan.write_text(plan.read_text().replace('"shard_rows": 16', '"shard_rows": 15'))
    column = Representation(1, "mean")
    features = Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS).rows(TEXTS).get(column)
    np.testing.assert_allclose(features, direct(toy_encoder, TEXTS, column), atol=1e-6)
    assert contents(tmp_path) == before


def test_a_plan_folder_without_its_list_is_planned_again(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    before = contents(tmp_path)
    [plan] = tmp_path.glob("*/*/*/sentences.json")
    plan.unlink()
    (plan.parents[1] / ".half-made").mkdir()
    Store(tmp_path).vectors(toy_encoder, iter(TEXTS), POOLINGS)
    assert contents(tmp_path) == before


def test_entries_and_prune(tmp_path):
    store = Store(tmp_path)
    for seed in (0, 1):
        store.vectors(ToyEncoder(name=f"toy{seed}", seed=seed), TEXTS, POOLINGS)
    entries = store.entries()
    assert {(e["encoder"], e["sentences"], e["done"] == e["shards"]) for e in entries} == {("toy0", 120, True), ("toy1", 120, True)}
    with pytest.raises(StoreError, match="no encoder 'zzz'"):
        store.prune(["zzz"])
    home = tmp_path / entries[0]["fingerprint"]
    on_disk = sum(f.stat().st_size for f in home.rglob("*") if f.is_file())
    assert store.prune([entries[0]["fingerprint"][:8]]) == on_disk >= entries[0]["bytes"] > 0
    assert [e["encoder"] for e in store.entries()] == [entries[1]["encoder"]]


def test_the_memory_map_reads_what_safetensors_wrote(tmp_path, toy_encoder):
    from safetensors.numpy import load_file

    Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    for path in shards(tmp_path)[:2]:
        for name, tensor in load_file(path).items():
            mapped = memory_map(path, name)
            assert isinstance(mapped, np.memmap)
            np.testing.assert_array_equal(mapped, tensor)
    json.loads(next(tmp_path.glob("*/encoder.json")).read_text())


def test_every_flipped_bit_is_found_and_mended(tmp_path):
    few, column, rng = TEXTS[:40], Representation(2, "max"), np.random.default_rng(0)
    Store(tmp_path).vectors(ToyEncoder(), few, POOLINGS)
    whole = contents(tmp_path)
    for trial in range(60):
        path = tmp_path / list(whole)[trial % len(whole)]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert len(Store(tmp_path).verify()[1]) == 1
        features = Store(tmp_path).vectors(ToyEncoder(), few, POOLINGS).rows(few).get(column)
        np.testing.assert_allclose(features, direct(ToyEncoder(), few, column), atol=1e-6)
        assert contents(tmp_path) == whole and Store(tmp_path).verify()[1] == []


def test_rows_that_lie_in_one_of_two_segments_are_read(tmp_path, toy_encoder):
    store = Store(tmp_path)
    store.vectors(toy_encoder, TEXTS[:50], POOLINGS)
    vectors = store.vectors(toy_encoder, TEXTS, POOLINGS)
    column = Representation(1, "mean")
    for texts in (TEXTS[:5], TEXTS[60:65], TEXTS[48:52], []):
        np.testing.assert_allclose(vectors.rows(texts).get(column), direct(ToyEncoder(), texts, column), atol=1e-6)
    with pytest.raises(KeyError, match="not there"):
        vectors.rows([TEXTS[0], "not there"])


def test_a_shard_without_its_receipt_is_unfinished_not_damaged(tmp_path, toy_encoder):
    store = Store(tmp_path)
    store.vectors(toy_encoder, TEXTS, POOLINGS)
    shards(tmp_path)[0].with_suffix(".json").unlink()
    assert store.verify() == (len(shards(tmp_path)) - 1, [])
    seen = toy_encoder.sentences
    Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    assert toy_encoder.sentences == seen + 16


# float16.


def test_float16_halves_the_size_and_errs_by_less_than_a_thousandth_of_a_deviation(tmp_path, toy_encoder, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 4 * 12 * 3 * 4 * 60)
    exact, half = Store(tmp_path / "f32"), Store(tmp_path / "f16", "float16")
    at = [store.vectors(toy_encoder, TEXTS, POOLINGS).rows(TEXTS) for store in (exact, half)]
    sizes = [sum(path.stat().st_size for path in shards(store.root)) for store in (exact, half)]
    assert half.estimate(toy_encoder, TEXTS + ["new"], POOLINGS).bytes == 4 * 12 * 3 * 2
    assert sizes[1] < 0.65 * sizes[0], "headers, offsets and scales weigh something in shards of 60 rows"
    [entry] = half.entries()
    error = entry["storage_error"]
    assert entry["dtype"] == "float16" and 0 < error["rms"] < 1e-3 and error["rms"] <= error["max"] and error["float32"] == 0
    for layer in range(3):
        for pooling in POOLINGS:
            x, y = (rows.get(Representation(layer, pooling)) for rows in at)
            assert y.dtype == np.float32
            spread = x.std(0, dtype=np.float64)
            wrong = np.sqrt(((x.astype(np.float64) - y) ** 2).mean(0))
            assert (wrong <= error["rms"] * spread + 1e-12).all(), "the worst shard bounds the whole"
            np.testing.assert_array_equal(y[:, spread == 0], x[:, spread == 0])
    again = Store(tmp_path / "f16", "float16")
    before = contents(again.root)
    shards(again.root)[1].write_bytes(b"")
    again.vectors(toy_encoder, TEXTS, POOLINGS)
    assert contents(again.root) == before, "the same bytes after damage"


def test_who_asks_for_float32_never_reads_float16_and_who_asks_for_float16_reads_float32_where_all_is_there(tmp_path):
    encoder = ToyEncoder()
    half, exact = Store(tmp_path, "float16"), Store(tmp_path)
    half.vectors(encoder, TEXTS, POOLINGS)
    exact_rows = exact.vectors(encoder, TEXTS, POOLINGS).rows(TEXTS).get(Representation(1, "mean"))
    assert encoder.sentences == 2 * len(TEXTS)
    np.testing.assert_allclose(exact_rows, direct(ToyEncoder(), TEXTS, Representation(1, "mean")), atol=1e-6)
    half.vectors(encoder, [*TEXTS, "another"], POOLINGS)
    assert encoder.sentences == 2 * len(TEXTS) + 1, "float32 has not all of it: float16 goes on"
    shutil.rmtree(next(tmp_path.glob("*/*@float16")))
    served = Store(tmp_path, "float16").vectors(encoder, TEXTS, POOLINGS).rows(TEXTS).get(Representation(1, "mean"))
    assert encoder.sentences == 2 * len(TEXTS) + 1
    np.testing.assert_array_equal(served, exact_rows)


def test_a_column_that_float16_would_ruin_stays_in_float32_and_that_is_said(tmp_path, capsys):
    class Wild(ToyEncoder):
        def forward(self, items):
            states = super().forward(items)
            rare = torch.tensor([item[1] % 5 == 0 for item in items])
            states.layers[1][..., 0] = 1e-45 * rare[:, None]  # its deviation is below the smallest float32
            return states

    store = Store(tmp_path, "float16")
    features = store.vectors(Wild(), TEXTS, ["max"]).rows(TEXTS).get(Representation(1, "max"))
    np.testing.assert_array_equal(features[:, 0], direct(Wild(), TEXTS, Representation(1, "max"))[:, 0])
    assert "1 columns stay in float32: float16 would err by more than 1% of a deviation" in capsys.readouterr().err.replace(
        "\n", " "
    )
    assert store.entries()[0]["storage_error"]["float32"] == 1


def test_an_unknown_dtype_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"run.store_dtype='float61' is unknown; did you mean 'float16'\? \(allowed: float32, float16\)"
    ):
        Store(tmp_path, "float61")


def test_plans_that_were_begun_and_never_finished_are_cleared_once_their_writer_is_gone(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS[:3], POOLINGS)
    [folder] = {path.parent.parent for path in tmp_path.glob("*/*/*/sentences.json")}
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    begun = {name: folder / f".0123.{name}" for name in (f"{host}-{ended.pid}", writer(), "elsewhere-1", "elsewhere-2")}
    for path in begun.values():
        path.mkdir()
    os.utime(begun["elsewhere-2"], (0, 0))
    Store(tmp_path).vectors(toy_encoder, TEXTS[:3], POOLINGS)
    left = {name for name, path in begun.items() if path.exists()}
    assert left == {writer(), "elsewhere-1"}, "the one of this process, and a young one of another machine"


def test_a_store_of_an_earlier_version_is_refused_and_left_alone(tmp_path, toy_encoder):
    Store(tmp_path).vectors(toy_encoder, TEXTS[:3], POOLINGS)
    [encoder] = tmp_path.glob("*/encoder.json")
    encoder.write_text(json.dumps({"name": "toy", **toy_encoder.description}))
    old = encoder.parent / "mean" / "0123456789"
    old.mkdir(parents=True)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="earlier version of probing.*run.store="):
        Store(tmp_path).vectors(toy_encoder, TEXTS, POOLINGS)
    assert contents(tmp_path) == before and old.is_dir()


def test_plans_and_poolings_of_other_versions_are_listed_and_not_used(tmp_path, toy_encoder, monkeypatch):
    """A plan without counts is read; a folder with a pooling that this version lacks is listed, and vectors are computed beside."""
    Store(tmp_path).vectors(toy_encoder, TEXTS[:3], ["mean"])
    [path] = tmp_path.glob("*/mean/*/sentences.json")
    content = json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "reading"}).encode()
    path.write_bytes(content)
    path.parent.rename(path.parent.with_name(hashlib.sha256(content).hexdigest()[:20]))
    (path.parents[1]).rename(path.parents[1].with_name("mean+range"))
    assert [entry["poolings"] for entry in Store(tmp_path).entries()] == ["mean+range"] and Store(tmp_path).verify()[1] == []
    Store(tmp_path).vectors(toy_encoder, TEXTS[:3], ["mean"])
    assert toy_encoder.sentences == 6 and {entry["poolings"] for entry in Store(tmp_path).entries()} == {"mean", "mean+range"}


def test_a_pooling_of_another_width_is_refused_with_its_shape(tmp_path, toy_encoder, monkeypatch):
    monkeypatch.setitem(poolings_module.POOLINGS, "both", lambda batch, layer, backward: torch.cat([layer[:, 0], layer[:, -1]], 1))
    with pytest.raises(EncoderError, match=r"pooling both gives the shape \(\d+, 24\), not \(\d+, 12\) \(batch, dim\)"):
        Store(tmp_path).vectors(toy_encoder, TEXTS[:3], ["both"])


def test_a_plan_that_another_job_puts_in_place_meanwhile_is_left_alone(tmp_path, toy_encoder, monkeypatch):
    """Without locks: the other job's plan appears after this one has read which plans there are."""
    Store(tmp_path).vectors(toy_encoder, TEXTS[:3], POOLINGS)
    [folder] = {path.parent.parent for path in tmp_path.glob("*/*/*/sentences.json")}
    damaged = folder / ("0" * 20)
    damaged.mkdir()
    read, fresh = Store._segments, []

    def slow(self, place):
        segments = read(self, place)
        if not fresh:
            fresh.append(write_plan(place, TEXTS[3:6], 16, {}))
        return segments

    monkeypatch.setattr(Store, "_segments", slow)
    monkeypatch.setattr(store_module, "locked", lambda path, wait=True: nullcontext(True))
    rows = Store(tmp_path).vectors(toy_encoder, TEXTS[:8], POOLINGS).rows(TEXTS[:8])
    assert read_segment(fresh[0].folder) == fresh[0] and not damaged.exists()
    Store(tmp_path)._fill(toy_encoder, fresh, TEXTS[3:6])  # the other job goes on
    monkeypatch.undo()
    again = Store(tmp_path).vectors(toy_encoder, TEXTS[:8], POOLINGS).rows(TEXTS[:8])
    column = Representation(0, "mean")
    np.testing.assert_array_equal(rows.get(column), again.get(column))
    assert Store(tmp_path).verify()[1] == []


def test_two_threads_write_one_file_and_neither_meets_the_others_beginning(tmp_path):
    """Both are held between writing and renaming: under one name, one would rename what the other is still writing."""
    names, meet = [], threading.Barrier(2)

    def write():
        with atomic(tmp_path / "file", clear=True) as path:
            names.append(path)
            path.write_bytes(b"whole")
            meet.wait(10)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 2 and (tmp_path / "file").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not any(gone(name) for name in (writer(), process(), "elsewhere-1.2"))
