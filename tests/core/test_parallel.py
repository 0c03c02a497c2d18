from concurrent.futures import ThreadPoolExecutor
from itertools import count

from hubbleclip.core.parallel import ahead


def test_what_is_made_ahead_comes_in_order():
    with ThreadPoolExecutor(3) as pool:
        assert list(ahead(pool, str, range(20), 4)) == [str(number) for number in range(20)]
        assert list(ahead(pool, str, [], 4)) == []


def test_no_more_is_begun_than_was_asked_for():
    begun = []
    with ThreadPoolExecutor(1) as pool:
        made = ahead(pool, begun.append, count(), 4)
        next(made)
        next(made)
        made.close()
    assert begun == list(range(len(begun)))
    assert 2 <= len(begun) <= 6
