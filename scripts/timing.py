"""Processor and wall seconds of benchmarks."""

import resource
import statistics
import time


class Clock:
    """Processor seconds of this process and its finished children, and wall seconds, since it was made."""

    def __init__(self):
        self.start = self.now()

    @staticmethod
    def now():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime, time.perf_counter()

    def read(self):
        cpu, wall = (b - a for a, b in zip(self.start, self.now(), strict=True))
        return {"cpu": cpu, "wall": wall}


class Timed:
    """Processor and wall seconds of every call, by name."""

    def __init__(self):
        self.cpu: dict[str, list[float]] = {}
        self.wall: dict[str, list[float]] = {}

    def __call__(self, name, call):
        clock = Clock()
        result, spent = call(), clock.read()
        self.cpu.setdefault(name, []).append(spent["cpu"])
        self.wall.setdefault(name, []).append(spent["wall"])
        return result

    def median(self, name):
        return statistics.median(self.cpu[name])

    def said(self):
        return {"cpu_seconds": self.cpu, "wall_seconds": self.wall}


def spent(row: dict, name: str) -> str:
    """Processor seconds of a row: median (least-most)."""
    times = row["cpu_seconds"][name]
    return f"{statistics.median(times):.2f} ({min(times):.2f}-{max(times):.2f})"
