"""An installed wheel runs a pipeline, cuts a file into tiles, and deploys a scheduled run that completes."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from commands import SMALL, environment
from scheduled_site import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`hubbleclip` of an environment that has the wheel, and the other packages from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in filter(lambda name: (ROOT / name).is_file(), listed):  # a build would write into the checkout
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source"], check=True
    )
    shutil.rmtree(folder / "source")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "--python", venv / "bin/python", "install", "--no-deps", wheel], check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "others.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n"
    )  # without that folder's editable installs
    return venv / "bin/hubbleclip"


def test_the_demo_of_a_wheel_ends_with_a_report_and_a_file_gives_tiles(program: Path, tmp_path: Path) -> None:
    settings = SMALL | {"simulator.num_proposals": 12, "evaluation.shuffled_steps": 2}
    variables = {f"HUBBLECLIP_{name.upper().replace('.', '__')}": json.dumps(value) for name, value in settings.items()}
    done = subprocess.run(
        [program, "demo", "--no-server"],
        cwd=tmp_path,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"hubbleclip-demo"}
    assert list(tmp_path.glob("hubbleclip-demo/demo/reports/*/index.html"))
    product = next(tmp_path.glob("hubbleclip-demo/demo/products/*/*"))
    words = [program, "tile", product, "--out", "tiles", "--set=tiles.size_px=160", "--set=tiles.min_side_px=32"]
    subprocess.run(words, cwd=tmp_path, env=environment(), check=True)
    assert list(tmp_path.glob("tiles/*.png"))
    assert "index.ecsv" in {path.name for path in (tmp_path / "tiles").iterdir()}
