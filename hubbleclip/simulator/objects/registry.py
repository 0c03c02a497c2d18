"""Registry of object renderers: one function per kind of object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hubbleclip.simulator.objects.view import Image, View


class ObjectRenderer(Protocol):
    """Draws one kind of object without noise or optics."""

    def __call__(self, view: View, rng: np.random.Generator, variant: str, /) -> Image:
        """Draw the object at scene position (0, 0).

        Parameters
        ----------
        view
            Pixel grid in scene coordinates, and the filter.
        rng
            Generator of the scene, at the same state for every frame of it.
        variant
            One of the kind's `variants`.

        Returns
        -------
        Image
            Surface brightness in units of the noise of a typical combined exposure, shape (y, x) of the view.

        """


OBJECT_RENDERERS: dict[str, ObjectRenderer] = {}


def register_object(kind: str) -> Callable[[ObjectRenderer], ObjectRenderer]:
    """Register the decorated function as the renderer of a kind of object.

    The renderer is called with the view (pixel grid and filter), a random generator seeded by the scene, and the
    variant. Which numbers it draws from the generator must not depend on the view, so that every frame of one scene
    shows the same scene.

    Parameters
    ----------
    kind
        Name of the kind, a key of `OBJECT_KINDS`.

    Returns
    -------
    Callable[[ObjectRenderer], ObjectRenderer]
        Decorator that records the function in `OBJECT_RENDERERS` and returns it unchanged.

    """

    def register(renderer: ObjectRenderer) -> ObjectRenderer:
        OBJECT_RENDERERS[kind] = renderer
        return renderer

    return register
