from concurrent.futures import ThreadPoolExecutor
from itertools import count

from hubbleclip.core.parallel import ahead


def test_results_come_in_the_order_of_the_items():
    with ThreadPoolExecutor(3) as pool:
        assert list(ahead(pool, str, range(20), 4)) == [str(number) for number in range(20)]
        assert list(ahead(pool, str, [], 4)) == []


def test_at_most_the_given_number_of_items_is_submitted_ahead():
    begun = []
    with ThreadPoolExecutor(1) as pool:
        results = ahead(pool, begun.append, count(), 4)
        next(results)
        next(results)
        results.close()
    assert begun == list(range(len(begun)))
    assert 2 <= len(begun) <= 6
