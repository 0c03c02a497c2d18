"""Install torch and torchvision: CPU builds where there is no NVIDIA driver, pip's default builds elsewhere.

The default builds for Linux bring CUDA, which is 2.8 GB to download. `make setup` runs this file with the Python of the
new environment, before anything else is installed, so it uses the standard library alone.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import threading
import urllib.request
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_S = 5
CHOICES = ("auto", "cpu", "cuda")
PACKAGES = ("torch", "torchvision")
DRIVER = Path("/proc/driver/nvidia/version")
CUDA_SIZE = "builds with CUDA, 2.8 GB to download and 5 GB on disk"


class Plan(NamedTuple):
    """What to ask pip for."""

    extra_index: str | None
    """Index of packages besides pip's own."""
    note: str
    """Line that is printed before the installation, or empty."""


class SetupError(Exception):
    """The request cannot be met."""


def wants_cpu_build(choice: str, system: str, has_driver: bool) -> bool:
    """Whether to look for CPU builds; outside Linux the default builds are CPU builds already."""
    return system == "Linux" and (choice == "cpu" or (choice == "auto" and not has_driver))


def make_plan(choice: str, system: str, has_driver: bool, is_reachable: bool) -> Plan:
    """Choose the builds."""
    if choice not in CHOICES:
        raise SetupError(f"TORCH={choice} is none of {', '.join(CHOICES)}")
    if not wants_cpu_build(choice, system, has_driver):
        return Plan(None, f"torch: {CUDA_SIZE}" if system == "Linux" else "")
    if is_reachable:
        return Plan(CPU_INDEX, "")
    if choice == "cpu":
        raise SetupError(f"TORCH=cpu needs {CPU_INDEX}, which does not answer; TORCH=auto takes pip's default builds")
    return Plan(
        None,
        f"torch: {CPU_INDEX} does not answer, so pip's default builds are installed; unless pip is configured"
        f" otherwise, these are {CUDA_SIZE}",
    )


def has_nvidia_driver() -> bool:
    """Whether the kernel has NVIDIA's driver, or its tool lists a GPU."""
    tool = shutil.which("nvidia-smi")
    return DRIVER.is_file() or (
        tool is not None and subprocess.run([tool, "--list-gpus"], capture_output=True, check=False).returncode == 0
    )


def answers(url: str, limit_s: float = PROBE_S) -> bool:
    """Whether a page can be read within the limit. The lookup of the name has no limit of its own, hence the thread."""
    pages: list[bytes] = []

    def read_page() -> None:
        try:
            with urllib.request.urlopen(url, timeout=limit_s) as answer:  # noqa: S310 (an address of ours)
                pages.append(answer.read(1))
        except OSError:
            return

    probe = threading.Thread(target=read_page, daemon=True)
    probe.start()
    probe.join(limit_s)
    return bool(pages)


def pinned(constraints: str) -> list[str]:
    """The pinned versions of torch and torchvision."""
    return [line for line in constraints.splitlines() if line.partition("==")[0] in PACKAGES]


def is_installed(wanted: list[str]) -> bool:
    """Whether this environment has each version, of any build."""
    try:
        return all(version(name).partition("+")[0] == exact for name, exact in (one.split("==") for one in wanted))
    except PackageNotFoundError:
        return False


def install(choice: str, wanted: list[str]) -> None:
    """Install the packages with pip and print which builds came."""
    system, has_driver = platform.system(), has_nvidia_driver()
    is_reachable = wants_cpu_build(choice, system, has_driver) and answers(f"{CPU_INDEX}/torch/")
    plan = make_plan(choice, system, has_driver, is_reachable)
    if plan.note:
        print(plan.note, flush=True)
    index = ["--extra-index-url", plan.extra_index] if plan.extra_index else []
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(CONSTRAINTS), *index, *wanted], check=True)
    print(*(f"{name} {version(name)}" for name in PACKAGES), sep=", ", end=" installed\n", flush=True)


def main() -> None:
    """`python install_torch.py [auto|cpu|cuda]`."""
    wanted = pinned(CONSTRAINTS.read_text(encoding="utf-8"))
    if is_installed(wanted):
        return
    try:
        install(sys.argv[1] if len(sys.argv) > 1 else "auto", wanted)
    except SetupError as error:
        sys.exit(f"hubbleclip: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
