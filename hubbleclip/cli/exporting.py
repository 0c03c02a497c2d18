"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hubbleclip.cli.options import Options, RunId
from hubbleclip.cli.output import print_line


def export(
    run: RunId,
    directory: Annotated[Path, Parameter(help="Folder to create, such as my-model.")],
    options: Options = Options(),
    *,
    transformers: Annotated[bool, Parameter(help="Write a CLIPModel too, for architectures of OpenAI.")] = True,
    onnx: Annotated[bool, Parameter(help="Write ONNX files of both towers too.")] = True,
) -> None:
    """Export the model of a run (id or folder) to a new folder for open_clip, transformers and ONNX, with a card."""
    from hubbleclip.pipeline.export import export as export_run

    print_line(str(export_run(run, directory, options.settings(), transformers=transformers, onnx=onnx)))
