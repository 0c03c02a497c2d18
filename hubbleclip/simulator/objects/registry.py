"""The registry of drawings: one function a kind of object."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hubbleclip.simulator.objects.view import Image, View

Drawing = Callable[[View, np.random.Generator, str], Image]
DRAWINGS: dict[str, Drawing] = {}


def draws(kind: str) -> Callable[[Drawing], Drawing]:
    """Register a drawing. It gets the frame, a generator that is the scene's own, and the variant.

    What it draws from the generator must not depend on the frame, so that every frame of a scene shows the same scene.
    """

    def register(drawing: Drawing) -> Drawing:
        DRAWINGS[kind] = drawing
        return drawing

    return register
