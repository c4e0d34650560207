"""Upkeep of a store takes files away, never a vector that is needed: whatever is killed, and whoever reads meanwhile."""

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import processes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import ToyEncoder

from probing.errors import ConfigError, StoreError
from probing.store import compaction, locks
from probing.store import vectors as store_module
from probing.store.compaction import compact, evict
from probing.store.segments import read_segment, segment_folders
from probing.store.vectors import Store
from probing.types import Representation

POOLINGS = ("mean", "max")
TEXTS = [f"a{i} b{i % 7} c" + " d" * (i % 5) for i in range(90)]
COLUMNS = [Representation(layer, pooling) for layer in range(3) for pooling in POOLINGS]
ENV = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 4 * 12 * 3 * 2 * 16)  # 16 rows of the toy encoder


def fill(root: Path, *ends: int, **options) -> ToyEncoder:
    """A store with one request after the other: the first `end` sentences each."""
    encoder = ToyEncoder(**options)
    for end in ends:
        Store(root).vectors(encoder, TEXTS[:end], POOLINGS)
    return encoder


def read(root: Path, encoder=None, texts=TEXTS) -> list[np.ndarray]:
    rows = Store(root).vectors(encoder or ToyEncoder(), texts, POOLINGS).rows(texts)
    return [rows.get(column) for column in COLUMNS]


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def segments(root: Path) -> list:
    return [read_segment(path) for folder in sorted(root.glob("*/*/")) for path in segment_folders(folder)]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, len(TEXTS)), min_size=1, max_size=6))
def test_every_vector_stays_to_the_bit_in_the_fewest_files(tmp_path_factory, ends):
    root = tmp_path_factory.mktemp("store")
    fill(root, *ends)
    texts = TEXTS[: max(ends)]
    before, reading = read(root, texts=texts), Store(root).vectors(ToyEncoder(), texts, POOLINGS).reading
    done = compact(root)
    assert done.files[1] == len(files(root)) <= done.files[0] and done.in_use == ()
    reader = ToyEncoder()
    assert all(np.array_equal(a, b) for a, b in zip(before, read(root, reader, texts), strict=True)) and reader.calls == 0
    assert Store(root).vectors(reader, texts, POOLINGS).reading == reading
    [segment] = segments(root)
    assert set(segment.sentences) == set(texts) and segment.n_shards == -(-len(texts) // 16)
    compact(root)
    assert len(files(root)) == 2 + 2 * segment.n_shards  # encoder.json, sentences.json, and each shard with its receipt
    assert Store(root).verify() == (segment.n_shards, [])


def test_vectors_that_other_versions_made_are_not_joined_with_ours(tmp_path, monkeypatch):
    fill(tmp_path, 20, 40)
    monkeypatch.setattr("probing.store.segments.made_with", lambda: {"torch": "another"})
    fill(tmp_path, 60, 80)
    compact(tmp_path)
    both = segments(tmp_path)
    makers = [segment.made_with(shard) for segment in both for shard in range(segment.n_shards)]
    assert len(both) == 2 and sorted(len(s.sentences) for s in both) == [40, 40]
    assert [maker == {"torch": "another"} for maker in makers].count(True) == 3 == len(makers) - 3


def test_float16_a_damaged_shard_and_a_failed_sentence_are_left_as_they_are(tmp_path):
    encoder = ToyEncoder()
    for end in (20, 40):
        Store(tmp_path / "half", "float16").vectors(encoder, TEXTS[:end], POOLINGS)
    fill(tmp_path / "damaged", 20, 40)
    shard = segments(tmp_path / "damaged")[0].data(0)
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    for name in ("half", "damaged"):
        before = [segment.folder for segment in segments(tmp_path / name)]
        compact(tmp_path / name)
        assert [segment.folder for segment in segments(tmp_path / name)] == before
    assert read(tmp_path / "damaged", texts=TEXTS[:40])[0].shape == (40, 12)


def test_what_killed_runs_left_goes_and_what_they_finished_stays(tmp_path):
    fill(tmp_path, 90)
    [segment] = segments(tmp_path)
    segment.receipt(1).unlink()
    (segment.folder / ".00003.safetensors.host-1.2.tmp").write_bytes(b"half a shard")
    orphan = tmp_path / f".{'0' * 20}.{locks.socket.gethostname()}-999999999.1.tmp"
    orphan.mkdir()
    compact(tmp_path)
    assert not segment.data(1).exists() and not list(tmp_path.rglob(".*")) and not list(tmp_path.rglob("*.lock"))
    encoder = ToyEncoder()
    read(tmp_path, encoder)
    assert encoder.sentences == 16
    for shard in range(segment.n_shards):
        segment.receipt(shard).unlink()
    compact(tmp_path)
    assert segments(tmp_path) == []


def killed_at(step: int, root: Path) -> processes.Started:
    """`compact`, killed before the step-th change of the disk."""
    code = f"""
import os, pathlib, shutil, signal
from probing.store import compaction, vectors
vectors.SHARD_BYTES = {store_module.SHARD_BYTES}
left = {step}
def counted(call):
    def one(*args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return one
os.replace, os.unlink = counted(os.replace), counted(os.unlink)
compaction.compact(pathlib.Path({str(root)!r}))
"""
    return processes.Started("-c", code, env=ENV)


def test_killed_at_every_step_no_vector_is_lost_and_the_next_call_ends_the_work(tmp_path):
    texts = TEXTS[:40]
    fill(tmp_path / "whole", 20, 40)
    expected = read(tmp_path / "whole", texts=texts)
    for step in range(1, 200, 2):
        root = tmp_path / str(step)
        shutil.copytree(tmp_path / "whole", root)
        code = killed_at(step, root).wait()
        assert code in (0, -signal.SIGKILL)
        reader = ToyEncoder()
        assert all(np.array_equal(a, b) for a, b in zip(expected, read(root, reader, texts), strict=True)), step
        compact(root)
        assert reader.calls == 0 and len(files(root)) == 8 and not list(root.rglob(".*")), step
        if code == 0:
            break
    assert step > 10


def test_what_a_process_uses_is_left_until_it_ends(tmp_path):
    code = f"""
import time
from toys import ToyEncoder
from probing.store.vectors import Store
vectors = Store({str(tmp_path)!r}).vectors(ToyEncoder(), {TEXTS[:30]!r}, {POOLINGS!r})
print("ready", flush=True)
time.sleep(60)
"""
    fill(tmp_path, 10, 20)
    fill(tmp_path, 10, 20, name="other", seed=1)
    holder = processes.Started("-c", code, env=ENV)
    while "ready" not in holder._streams[0].read_text() if holder._streams[0].exists() else True:
        assert holder.poll() is None
        time.sleep(0.01)
    used = [entry["fingerprint"] for entry in Store(tmp_path).entries() if entry["encoder"] == "toy"][0]
    assert compact(tmp_path).in_use == (used,)
    assert {one.home.name: one.in_use for one in evict(tmp_path, days=0, dry=False)}[used]
    with pytest.raises(StoreError, match=f"a running process uses the vectors of {used}"):
        Store(tmp_path).prune([used])
    assert [entry["encoder"] for entry in Store(tmp_path).entries()] == ["toy"]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert compact(tmp_path).in_use == () and len(segments(tmp_path)) == 1
    assert [one.in_use for one in evict(tmp_path, days=0, dry=False)] == [False]
    assert list(tmp_path.iterdir()) == []


def test_vectors_of_this_process_are_in_use_until_nobody_holds_them(tmp_path):
    vectors = Store(tmp_path).vectors(ToyEncoder(), TEXTS[:20], POOLINGS)
    rows = vectors.rows(TEXTS[:5])
    del vectors
    assert [one.in_use for one in evict(tmp_path, size=0, dry=False)] == [True] and rows.get(COLUMNS[0]).shape == (5, 12)
    del rows
    assert [one.in_use for one in evict(tmp_path, size=0, dry=False)] == [False]


def test_a_store_that_was_evicted_is_filled_again_by_the_same_object(tmp_path):
    store, encoder = Store(tmp_path), ToyEncoder()
    first = store.vectors(encoder, TEXTS, POOLINGS).rows(TEXTS).get(COLUMNS[0])
    evict(tmp_path, days=0, dry=False)
    assert np.array_equal(store.vectors(encoder, TEXTS, POOLINGS).rows(TEXTS).get(COLUMNS[0]), first)
    assert encoder.sentences == 2 * len(TEXTS)


def test_one_process_compacts_and_evicts_while_others_ask(tmp_path):
    code = f"""
import sys
import numpy as np
from toys import ToyEncoder
from probing.store import vectors as v
from probing.types import Representation
v.SHARD_BYTES = {store_module.SHARD_BYTES}
texts, column = {TEXTS!r}, Representation(2, "mean")
expected = v.Store({str(tmp_path / "alone")!r} + sys.argv[1]).vectors(ToyEncoder(), texts, {POOLINGS!r}).rows(texts).get(column)
for end in [*range(3, 90, 3)]:
    rows = v.Store({str(tmp_path / "store")!r}).vectors(ToyEncoder(), texts[:end], {POOLINGS!r}).rows(texts[:end])
    assert np.allclose(rows.get(column), expected[:end], atol=1e-6)
"""
    root = tmp_path / "store"
    root.mkdir()
    others = [processes.Started("-c", code, str(k), env=ENV) for k in range(2)]
    rounds = 0
    while any(process.poll() is None for process in others):
        compact(root)
        evict(root, days=0, dry=rounds % 3 > 0)
        rounds += 1
    assert [process.wait() for process in others] == [0, 0] and rounds > 3
    compact(root)
    assert Store(root).verify()[1] == [] and not list(root.rglob(".*"))


def test_who_was_used_longest_ago_goes_first_and_only_as_many_as_needed(tmp_path):
    homes = {}
    for k, days in enumerate((1, 40, 20, 3)):
        fill(tmp_path, 30, name=f"e{k}", seed=k)
        [home] = {path.parent for path in tmp_path.glob("*/encoder.json")} - set(homes.values())
        homes[f"e{k}"] = home
        os.utime(home / "encoder.json", times=(time.time() - days * compaction.DAY,) * 2)
    each = compaction.bytes_in(homes["e0"])
    names = lambda **options: [one.name for one in evict(tmp_path, **options)]  # noqa: E731
    assert names(days=10) == ["e1", "e2"] == names(size=int(2.5 * each))
    assert names(size=int(1.5 * each)) == ["e1", "e2", "e3"] and names(size=0) == ["e1", "e2", "e3", "e0"]
    assert names(size=10 * each) == [] == names(days=41)
    assert names(days=30, size=int(2.5 * each)) == ["e1", "e2"]
    assert all(home.exists() for home in homes.values())  # dry
    Store(tmp_path).vectors(ToyEncoder("e1", seed=1), TEXTS[:5], POOLINGS)  # used now
    assert names(days=10, dry=False) == ["e2"] and not homes["e2"].exists() and homes["e1"].exists()


@pytest.mark.parametrize("options", [{}, {"days": -1.0}, {"size": -5}])
def test_eviction_of_nothing_in_particular_is_refused(tmp_path, options):
    with pytest.raises(ConfigError, match=r"evict what\? Give days since the last use"):
        evict(tmp_path, **options)


def test_without_locks_nothing_is_touched_and_that_is_said(tmp_path, monkeypatch):
    fill(tmp_path, 20, 40)
    monkeypatch.setattr(locks, "fcntl", None)
    before = files(tmp_path)
    for work in (lambda: compact(tmp_path), lambda: evict(tmp_path, days=0, dry=False)):
        with pytest.raises(StoreError, match="has no locks.*probing store prune FINGERPRINT"):
            work()
    assert files(tmp_path) == before and read(tmp_path)[0].shape == (90, 12)


def test_the_commands(tmp_path):
    root = tmp_path / "store"
    fill(root, 20, 40)
    said = processes.run("-m", "probing", "store", "compact", "--root", root, env=ENV)
    assert said.returncode == 0 and "now 4 files" in said.stdout, said.stderr
    said = processes.run("-m", "probing", "store", "evict", "--size", "1kB", "--root", root, env=ENV)
    assert said.returncode == 0 and "nothing was deleted, --yes deletes them" in said.stdout and root.exists(), said.stderr
    for words, message in ((["--size", "1 apple"], "--size 1 apple: give a number and B, kB, MB, GB or TB"), ([], "evict what?")):
        said = processes.run("-m", "probing", "store", "evict", "--root", root, *words, env=ENV)
        assert said.returncode == 2 and message in said.stderr and "Traceback" not in said.stderr, said.stderr
    said = processes.run("-m", "probing", "store", "evict", "--days", "0", "--yes", "--root", root, env=ENV)
    assert said.returncode == 0 and "freed" in said.stdout and list(root.iterdir()) == [], said.stderr
