"""Processor and wall seconds of benchmarks, and the rate of matrix products beside them."""

import resource
import statistics
import time

import torch


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

    def repeat(self, calls, number: int) -> dict:
        """The results of one timed run of each call, in the reverse order where the number of the repeat is odd."""
        results = {}
        for name in sorted(calls, reverse=bool(number % 2)):
            clock = Clock()
            results[name], seconds = calls[name](), clock.read()
            self.cpu.setdefault(name, []).append(seconds["cpu"])
            self.wall.setdefault(name, []).append(seconds["wall"])
        return results

    def median(self, name):
        return statistics.median(self.cpu[name])

    def record(self):
        return {"cpu_seconds": self.cpu, "wall_seconds": self.wall}


def spent(row: dict, name: str) -> str:
    """Processor seconds of a row: median (least-most)."""
    times = row["cpu_seconds"][name]
    return f"{statistics.median(times):.2f} ({min(times):.2f}-{max(times):.2f})"


def gemm_peak(*shapes: tuple[int, int, int]) -> float:
    """GFLOP a processor second of the fastest float32 product of these shapes (m, k, n), the best of 20 each."""
    rates = []
    for m, k, n in shapes or [(1024, 1024, 1024)]:
        a, b = torch.randn(m, k), torch.randn(k, n)
        for _ in range(20):
            start = time.process_time()
            a @ b
            rates.append(2e-9 * m * k * n / (time.process_time() - start))
    return max(rates)
