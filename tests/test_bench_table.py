"""The benchmark of the whole table at toy size: it measures what it says, and goes on after a kill."""

import importlib
import json
from pathlib import Path

import processes
import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_table.py"


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("bench_table")


@pytest.mark.slow
def test_the_table_is_measured_and_what_is_finished_is_not_measured_again(toy_root, tmp_path, tiny):
    words = [SCRIPT, toy_root, tmp_path / "out", "--encoder", tiny("bert"), "--repeats", "1", "--scratch", tmp_path / "scratch"]
    words = [*map(str, words), "--fraction", "0.2"]

    def run():
        done = processes.run(*words, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "out" / "table.json").read_text())

    found = run()
    lines = {line["what"]: line for line in found["lines"]}
    assert list(lines) == ["tree_depth", "bigram_shift", "all"]
    for line in lines.values():
        assert line["ratio"] == pytest.approx(line["script"] / line["ours"])
        assert line["script"] == pytest.approx(line["loop"] + line["fits"]) and 0 < line["extraction"] < line["ours"]
        assert line["vectors"] < 1e-5, "both have the same vectors"
    for name in ("script", "ours", "limit"):
        assert lines["all"][name] == pytest.approx(lines["tree_depth"][name] + lines["bigram_shift"][name])
    stages = found["stages"]
    fits = [said for name, said in stages.items() if name.startswith("0 bigram_shift script fit")]
    assert len(fits) == len(stages["0 bigram_shift ours"]["cells"]) == 3 * 4
    assert stages["0 bigram_shift size"]["train"] == pytest.approx(80, abs=2) and stages["0 bigram_shift size"]["test"] == 12
    assert all(line["agree at the same C"] == 1 for line in lines.values() if line["same C"]), "the same estimator"
    assert run()["stages"] == stages, "measured once"
    assert "| all |" in (tmp_path / "out" / "table.md").read_text()


def test_a_stage_that_was_cut_short_starts_from_the_state_before_it(bench, tmp_path):
    def work(text, fails=False):
        def write():
            assert not (record.work / "half").exists()
            assert not (record.work / "a").exists() or (record.work / "a").read_text() == "first"
            bench.replace_file(record.work / "a", text.encode())
            if fails:
                (record.work / "half").write_text("half")
                raise KeyboardInterrupt
            return {}

        return write

    record = bench.Record(tmp_path, {"n": 1})
    record.stage("one", work("first"))
    with pytest.raises(KeyboardInterrupt):
        record.stage("two", work("second", fails=True))
    record = bench.Record(tmp_path, {"n": 1})  # as a new process would
    record.stage("one", lambda: pytest.fail("it is finished"))
    record.stage("two", work("second"))
    assert (record.work / "a").read_text() == "second" and not list(tmp_path.glob("before-*"))
    assert {"cpu", "wall"} <= set(record.get("two"))
    with pytest.raises(SystemExit, match="another benchmark"):
        bench.Record(tmp_path, {"n": 2})


def test_a_model_that_is_called_in_the_second_run_is_noticed(bench, tiny):
    encoder = bench.build(str(tiny("bert")))
    items, _ = encoder.tokenize(["the cat"])
    encoder.forward(items)
    with pytest.raises(bench.ModelCalled, match="the model was called"):
        bench.without_model(lambda: encoder.forward(items))
    encoder.forward(items)  # and only there


def test_what_processes_side_by_side_found_is_joined(bench, tmp_path):
    """Stages of one task are kept, seconds of a stage that both have are summed, rates are averaged."""
    record = bench.Record(tmp_path, {})
    record.join({"0 a ours": {"cpu": 3.0}, "0 unchanged": {"cpu": 1.0, "wall": 2.0}, "0 peak after": {"gflops": 90.0, "cpu": 1.0}})
    record.join({"0 b ours": {"cpu": 4.0}, "0 unchanged": {"cpu": 2.0, "wall": 5.0}, "0 peak after": {"gflops": 80.0, "cpu": 1.0}})
    assert record.get("0 a ours") == {"cpu": 3.0} and record.get("0 b ours") == {"cpu": 4.0}
    assert record.get("0 unchanged") == {"cpu": 3.0, "wall": 7.0}
    assert record.get("0 peak after")["gflops"] == 85.0


def test_the_script_of_an_earlier_table_is_taken_where_the_sentences_are_the_same(bench, tmp_path):
    earlier = {
        "0 a size": {"train": 3},
        "0 a script loop": {"cpu": 5.0},
        "0 a ours": {"cpu": 1.0},
        "0 ab script loop": {"cpu": 7.0},
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"stages": earlier}))
    record = bench.Record(tmp_path, {})
    record.save("1 a size", {"train": 3})
    bench.take_script(record, 1, "a", path)
    assert record.stages == {"1 a size": {"train": 3}, "1 a script loop": {"cpu": 5.0}}
    record.save("1 a size", {"train": 4})
    with pytest.raises(SystemExit, match="its a has other sentences: {'train': 3, .*, not {'train': 4,"):
        bench.take_script(record, 1, "a", path)


@pytest.mark.slow
def test_peak_memory_of_both_sides(toy_root, tmp_path, tiny):
    words = [SCRIPT.with_name("bench_table_memory.py"), toy_root, tmp_path, "--task", "bigram_shift", "--encoder", tiny("bert")]
    done = processes.run(*map(str, words), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "memory.json").read_text())
    for side in ("script", "ours"):
        figures = measured[side]
        assert 0 < figures["anonymous_before"] < figures["anonymous_bytes"] < figures["peak_bytes"]
        assert f"| {side} | {figures['peak_bytes'] / 2**20:.0f} |" in (tmp_path / "memory.md").read_text()
