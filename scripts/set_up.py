"""Installs this package into .venv with the exact versions of constraints.txt: what `make run` and `make test` do first.

Usage: PYTHON scripts/set_up.py EXTRA [options of pip]

With the Python of .venv packages are added to it; with any other Python .venv is made anew.

On Linux without an NVIDIA GPU torch comes from PyTorch's index of CPU wheels if that can be reached, since the wheel of the package
index brings some gigabytes of CUDA. An option with "index" or "torch" among the options of pip leaves the choice to the user.
"""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
PIP = [ROOT / ".venv/bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]


def wants_cpu_wheels(options: tuple[str, ...]) -> bool:
    """Whether torch should come from the index of CPU wheels."""
    if sys.platform != "linux" or Path("/proc/driver/nvidia").exists() or any(re.search("index|torch", word) for word in options):
        return False
    try:
        urllib.request.urlopen(f"{CPU_WHEELS}/torch/", timeout=5).close()
    except OSError:
        print(f"{CPU_WHEELS} cannot be reached: torch comes from the package index", flush=True)
        return False
    return True


def main(extra: str, *options: str) -> int:
    environment = ROOT / ".venv"
    print(f"set-up: .venv, Python {sys.version.split()[0]}, packages for {extra!r} as in constraints.txt", flush=True)
    if Path(sys.prefix).resolve() != environment.resolve():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        if wants_cpu_wheels(options):
            subprocess.run([*PIP, "--no-deps", "--extra-index-url", CPU_WHEELS, "torch"], check=True)
    subprocess.run([*PIP, *options, "-e", f"{ROOT}[{extra}]"], check=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"the set-up stopped: {' '.join(map(str, error.cmd))} ended with code {error.returncode}")
