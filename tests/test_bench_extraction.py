"""The extraction benchmark at toy size, and the memory that is foretold before a run against what the run took."""

import json
from importlib.util import find_spec
from pathlib import Path

import processes
import pytest

from probing.data.builders import grammar_tasks
from probing.encoders.hf.engines import PACKAGES

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"


def memory_of_a_run(root: str, n: int) -> tuple[int, int, int, int]:
    """Bytes held before, foretold and held at most for n sentences of 12 kB in shards of 20 MB, and the bytes of a shard."""
    from toys import ToyEncoder

    from probing.store import vectors as s
    from probing.store.extraction import peak_memory

    s.SHARD_BYTES = 20_000_000
    encoder, texts = ToyEncoder(width=500), [f"w{i} w{i % 7}" for i in range(n)]
    poolings = ("mean", "max")
    s.Store(root).estimate(encoder, texts[:20], poolings)  # the encoder and the libraries are in memory now
    before = peak_memory()
    foretold = s.Store(root).estimate(encoder, texts, poolings).memory
    s.Store(root).vectors(encoder, texts, poolings)
    return before, foretold, peak_memory(), s.SHARD_BYTES


def test_memory_is_foretold_and_does_not_grow_with_the_number_of_sentences(tmp_path):
    taken = {}
    for attempt in ("", "-again"):  # what the allocator keeps in pieces differs by some MB: the lower of two where it matters
        for n in (2000, 8000):
            with processes.context().Pool(1) as fresh:
                before, foretold, peak, shard = fresh.apply(memory_of_a_run, (str(tmp_path / f"{n}{attempt}"), n))
            taken[n] = min(taken.get(n, peak), peak - before)
            assert peak <= foretold < peak + 5 * shard, (before, foretold, peak)
        if taken[8000] - taken[2000] < shard:
            break
    assert len(list(tmp_path.glob("8000/*/*/*/*.safetensors"))) == 5
    assert taken[8000] - taken[2000] < shard, "the vectors of the other sentences are 3.6 shards"


def run(out: Path, data: Path, model: Path, *words: str) -> dict:
    done = processes.run(SCRIPTS / "bench_extraction.py", out, data, "--model", model, "--sentences", "40", *words)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "extraction.json").read_text())


def test_the_benchmark_of_every_engine_against_the_loop(tmp_path, tiny):
    found = run(tmp_path, grammar_tasks(tmp_path / "g", n=60), tiny("bert"), "--parts", "minilm", "--repeats", "3")["minilm"]
    assert found["sentences"] == 40
    # by hand: 2 layers of width 16, inner width 32: 2 (8·16² + 4·16·32 + 4·16·T) per token, T of 4-24 tokens
    assert 2 * (8 * 256 + 4 * 512 + 64 * 4) / 1e6 < found["mflop_per_token"] < 2 * (8 * 256 + 4 * 512 + 64 * 24) / 1e6
    rows = {(row["variant"], row["precision"]): row for row in found["rows"]}
    for (_, precision), row in rows.items():
        low, high = row["spread"]
        assert low <= row["cpu_seconds"] <= high and len(row["repeats"]) == 3
        assert row["share_of_peak"] is None if precision == "int8" else 0 < row["share_of_peak"] < 1
        assert row["from_float64"] < {"float32": 1e-5, "bfloat16": 0.2, "int8": 3}[precision]
    assert rows["plain loop", "float32"]["times_loop"] == 1 and rows["torch", "float32"]["start"] > 0
    assert {engine for engine in PACKAGES if find_spec(PACKAGES[engine])} <= {variant for variant, _ in rows}
    assert "| plain loop | float32 |" in (tmp_path / "extraction.md").read_text()


@pytest.mark.slow
def test_the_benchmarks_in_fresh_processes_keep_what_was_measured_before(tmp_path, tiny):
    (tmp_path / "extraction.json").write_text(json.dumps({"kept": 1}))
    words = ("--parts", "workers", "--repeats", "1")
    found = run(tmp_path, grammar_tasks(tmp_path / "g", n=60), tiny("bert"), *words)
    assert found["kept"] == 1 and [row["how"] for row in found["workers"]["rows"]] == ["1 × 1", "1 × 2", "2 × 1"]
