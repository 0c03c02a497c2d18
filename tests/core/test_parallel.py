from concurrent.futures import ThreadPoolExecutor
from threading import Event

from hubbleclip.core.parallel import ahead


def test_results_come_in_the_order_of_the_items_though_the_first_ends_last():
    later = [Event() for _ in range(3)]

    def work(number):
        if number < len(later):
            assert later[number].wait(20)  # each of the first items ends after the next one
        if number and number <= len(later):
            later[number - 1].set()
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(ahead(pool, work, range(20), 4)) == list(range(20))
        assert list(ahead(pool, work, [], 4)) == []
