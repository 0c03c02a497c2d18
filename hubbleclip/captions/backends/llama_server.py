"""Run llama.cpp's server on loopback until the standard input ends: `python -m ... FILE CONTEXT THREADS`.

It is a process of its own, because the compiled module of `xllamacpp` cannot be loaded beside some others.
"""

from __future__ import annotations

import sys


def serve(file: str, context_tokens: int, num_threads: int) -> None:
    """Serve a model, and write the address of the server to standard output as soon as it answers."""
    import xllamacpp  # noqa: PLC0415 - optional

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx, params.n_parallel, params.port, params.verbosity = context_tokens, 1, 0, -1
    params.cpuparams.n_threads = num_threads
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()  # ends when the process that started this one ends, even if it is killed


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
