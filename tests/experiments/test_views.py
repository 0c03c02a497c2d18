"""Square views of pictures."""

import numpy as np
import pytest

from experiments.pairs.crops import square_views

GREY = 90


@pytest.mark.parametrize("shape", [(48, 96), (96, 48)])
def test_every_view_but_the_first_stays_inside_a_picture_that_holds_it(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), GREY, np.uint8)
    assert (square_views(picture, 32)[:4] == GREY).all()


def test_the_two_end_squares_show_the_two_ends_of_a_wide_picture() -> None:
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, :8], picture[:, -8:] = (255, 0, 0), (0, 0, 255)
    _, middle, left, right = square_views(picture, 48)[:4]
    assert tuple(left[24, 0]) == (255, 0, 0)
    assert tuple(right[24, -1]) == (0, 0, 255)
    assert not middle.any()
