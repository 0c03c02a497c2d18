"""`python -m tools.record_search URL docs/demo`: clip of the README and pictures of docs/search.md, from a `serve`.

It needs Chromium and its driver. Other pages are shown by the steps of `story` and by `PICTURES`.
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

SIZE_PX = (1100, 720)
QUALITY = 60
MAX_BYTES = 600_000
PICTURES = {
    "search-results": ("/?q=spiral+galaxy&instrument=WFC3%2FUVIS", False),
    "search-map": ("/map", False),
    "search-dark": ("/?q=globular+cluster&not=nebula", True),
}
"""Address of each picture, and whether its colours are dark."""
Frame = tuple[Image.Image, int]
"""A picture, and the time for which it is shown, in ms."""


class Screen:
    """A browser at one address."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser, self.url = browser, url

    def resize(self, width: int, height: int, *, is_dark: bool = False) -> None:
        """Set the size of the page in pixels, and its colours."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, path: str) -> None:
        """Open a page and wait for its pictures."""
        self.browser.get(urljoin(self.url, path))
        self.settle()

    def click(self, css: str) -> None:
        """Click an element and wait for what it shows."""
        self.browser.find_element(By.CSS_SELECTOR, css).click()
        self.settle()

    def settle(self) -> None:
        """Wait for requests and pictures."""
        done = "return document.readyState === 'complete' && !document.querySelector('.htmx-request')"
        pictures = "return [...document.images].every(i => i.complete || i.getBoundingClientRect().top > innerHeight)"
        time.sleep(1)
        deadline = time.monotonic() + 60
        while not (self.browser.execute_script(done) and self.browser.execute_script(pictures)):
            if time.monotonic() > deadline:
                sys.exit(f"{self.browser.current_url} was not ready after a minute")
            time.sleep(0.2)

    def shot(self) -> Image.Image:
        """Take a picture of what is visible."""
        return Image.open(io.BytesIO(self.browser.get_screenshot_as_png())).convert("RGB")


def story(screen: Screen) -> Iterator[Frame]:
    """Yield the frames of the clip: a text is typed, a hit is opened, tiles like it are listed, then the map."""
    screen.open("/")
    field = screen.browser.find_element(By.CSS_SELECTOR, "#q")
    yield screen.shot(), 900
    for letter in "spiral galaxy":
        field.send_keys(letter)
        yield screen.shot(), 110
    screen.click("button.main")
    yield screen.shot(), 3100
    screen.click(".tile .picture")
    yield screen.shot(), 3300
    screen.browser.back()
    screen.settle()
    screen.click(".tile .like")
    yield screen.shot(), 3100
    screen.open("/map")
    yield screen.shot(), 3100


def main(url: str, folder: Path) -> None:
    """Write the clip and the pictures."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as browser:
        screen = Screen(browser, url)
        screen.resize(*SIZE_PX)
        (first, first_ms), *rest = story(screen)
        times = [first_ms, *(shown_ms for _, shown_ms in rest)]
        clip = folder / "search.webp"
        pictures = [picture for picture, _ in rest]
        first.save(clip, save_all=True, append_images=pictures, duration=times, loop=0, quality=QUALITY, method=6)
        print(f"{clip}: {sum(times) / 1000:.1f} s, {clip.stat().st_size} bytes")
        if clip.stat().st_size > MAX_BYTES:
            sys.exit(f"the clip has more than {MAX_BYTES} bytes: lower QUALITY or show less")
        for name, (path, is_dark) in PICTURES.items():
            screen.resize(1280, 1000, is_dark=is_dark)
            screen.open(path)
            screen.shot().save(folder / f"{name}.jpg", quality=76)
        screen.open("/?q=spiral+galaxy")
        screen.click(".tile .picture")
        screen.shot().save(folder / "search-tile.jpg", quality=76)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
