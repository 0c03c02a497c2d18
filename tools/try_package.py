"""`python -m tools.try_package FILE`: install a wheel or sdist in an empty environment, and do what a new user does."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tools.install_torch import CPU_INDEX, answers

ROOT = Path(__file__).parents[1]
LOWEST = (
    *("astropy", "astroquery", "duckdb", "fastapi", "numba", "numpy", "open_clip_torch", "prefect", "pyarrow"),
    *("pydantic", "torch", "webdataset"),
)
"""Dependencies that are installed in the lowest version that `pyproject.toml` allows."""


def lowest_versions() -> list[str]:
    """Write the lowest allowed versions as constraints of pip."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = (re.match(r"([\w-]+)>=([\d.]+)", one) for one in project["dependencies"])
    return [f"{found[1]}=={found[2]}" for found in bounds if found and found[1] in LOWEST]


def first_example() -> str:
    """Return the first Python example of the README; a test shows no window."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.partition("```python\n")[2].partition("```")[0].replace(".show()", ".load()")


def main() -> None:
    """Install the file with this Python, and run the commands; the first failure ends the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--versions", choices=["lowest", "newest"], default="newest")
    parser.add_argument("--folder", type=Path, help="an empty folder to keep the environment in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "constraints.txt").write_text("\n".join(lowest_versions() if given.versions == "lowest" else ()))
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        python, command = folder / "venv/bin/python", folder / "venv/bin/hubbleclip"
        index = ["--extra-index-url", CPU_INDEX] if answers(f"{CPU_INDEX}/torch/") else []
        pip = [python, "-m", "pip", "install", "--quiet", *index]
        steps = [
            [*pip, "--constraint", folder / "constraints.txt", given.file.resolve()],
            [command, "--help"],
            [python, "-c", first_example()],
            [command, "tile", "example.fits", "--out", "tiles"],
            [command, "demo", "--small"],
            [command, "search", "spiral", "galaxy", "--data", "hubbleclip-demo/small"],
        ]
        for step in steps:
            print("+", *step, flush=True)
            subprocess.run(step, cwd=folder, check=True)


if __name__ == "__main__":
    main()
