"""Counts the files that a reader who follows a datum passes: those on the call stack where it is read, run, stored and fitted."""

import sys
from pathlib import Path

import probing
from probing import evaluate, load_task
from probing.interactions.segment import segment_interaction
from probing.interactions.text.game import TextGame

PACKAGE = Path(probing.__file__).parent
BESIDES = {"extraction_cost"}
"""Runs a few batches before the extraction, to say how long it takes."""


def files_on_the_way(work, stations):
    """Files of the package on the call stack whenever a function named in `stations` (file: functions) is entered."""
    stacks = {}

    def note(frame, event, _):
        if event != "call" or frame.f_code.co_name not in stations.get(Path(frame.f_code.co_filename).name, ()):
            return
        station, files, names = frame.f_code.co_name, [], set()
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if PACKAGE in path.parents:
                files.append(path.relative_to(PACKAGE).as_posix())
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        if not names & BESIDES:
            stacks.setdefault(station, set()).update(files)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    missed = {name for names in stations.values() for name in names} - set(stacks)
    assert not missed, f"never entered: {missed}"
    return set().union(*stacks.values())


def test_from_a_card_to_a_cell_there_are_at_most_twelve_files(toy_root, toy_encoder, tmp_path):
    def work():
        task = load_task("bigram_shift", toy_root)
        evaluate([task], [toy_encoder], store=tmp_path / "store", floors=(), controls=())

    stations = {"formats.py": {"read_senteval"}, "toys.py": {"forward"}, "segments.py": {"write_shard"}, "lbfgs.py": {"minimise"}}
    files = files_on_the_way(work, stations | {"results.py": {"put"}})
    assert len(files) <= 12, sorted(files)


def test_from_a_sentence_to_T_there_are_at_most_ten_files(toy_encoder):
    def work():
        segment_interaction(TextGame(toy_encoder, "a b c d e f g h", "mean", "delete", layers=(2,)), (2, 4))

    stations = {"toys.py": {"forward"}, "intervals.py": {"interval_values"}, "partition.py": {"best_partition"}}
    files = files_on_the_way(work, stations)
    assert len(files) <= 10, sorted(files)
