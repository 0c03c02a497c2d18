"""Registry of the object renderers. There is one renderer function per kind of object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hubbleclip.simulator.objects.view import Image, View


class ObjectRenderer(Protocol):
    """Function that draws one kind of object, without noise and without the effects of the optics."""

    def __call__(self, view: View, rng: np.random.Generator, variant: str, /) -> Image:
        """Draw the object with its centre at scene position (0, 0).

        Parameters
        ----------
        view
            Pixel grid in scene coordinates, and the filter.
        rng
            Random generator of the scene; it starts in the same state for every frame of the scene.
        variant
            Subtype of the object, one of the `variants` of its kind.

        Returns
        -------
        Image
            Surface brightness in units of the noise of a typical combined exposure, shape (y, x) of the view.

        """


OBJECT_RENDERERS: dict[str, ObjectRenderer] = {}


def register_object(kind: str) -> Callable[[ObjectRenderer], ObjectRenderer]:
    """Register the decorated function as the renderer of a kind of object.

    The numbers that the renderer draws from its random generator must not depend on the view. Otherwise two frames of
    one scene would show different objects.
    """

    def register(renderer: ObjectRenderer) -> ObjectRenderer:
        OBJECT_RENDERERS[kind] = renderer
        return renderer

    return register
