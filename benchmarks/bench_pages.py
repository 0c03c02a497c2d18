"""The search pages in a real browser: the time until the first picture of a result is on the screen.

Needs `make demo`, Chromium and its driver. Pictures, styles and scripts are fetched again for each page, and no text is
searched twice.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from selenium import webdriver

from benchmarks.measure import ROOT, Seconds, each, report, seconds_row, sized
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.search.server.running_server import find_server

DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data"
"""Folder with the profile `demo`."""
NUM_QUERIES = sized(20, 2)
START_S = 60.0
WATCH = """
window.firstPictureMs = null;
document.addEventListener("load", (event) => {
  if (window.firstPictureMs === null && event.target.matches?.(".tile img")) window.firstPictureMs = performance.now();
}, true);
"""
SUBMIT = """
window.firstPictureMs = null;
window.submittedMs = performance.now();
document.getElementById("q").value = arguments[0];
document.getElementById("search").requestSubmit();
"""
AFTER = "return window.firstPictureMs === null ? null : (window.firstPictureMs - (window.submittedMs || 0)) / 1000"


@contextmanager
def search_server() -> Iterator[str]:
    """Run `hubbleclip serve` and yield its URL."""
    line = [sys.executable, "-m", "hubbleclip.cli", "serve", "--data", str(DATA), "--port", "0"]
    process = subprocess.Popen(line, cwd=ROOT)
    try:
        deadline, found = time.monotonic() + START_S, None
        while found is None and time.monotonic() < deadline:
            found = find_server(Layout(DATA / "demo").search_server)
            time.sleep(0.2)
        if found is None:
            raise SystemExit(f"no server came up on {DATA}: run `make demo` first")
        yield f"http://{found.host}:{found.port}"
    finally:
        process.terminate()
        process.wait()


def open_browser() -> webdriver.Chrome:
    """Open Chromium without a cache."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1440,900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    return browser


def wait_for_picture(browser: webdriver.Chrome) -> float:
    """Return the seconds until the first picture of a result was loaded."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        seconds = browser.execute_script(AFTER)
        if seconds is not None:
            return float(seconds)
        time.sleep(0.01)
    raise SystemExit("no picture came")


def measure(url: str, browser: webdriver.Chrome, texts: list[str]) -> tuple[list[float], list[float]]:
    """Open the page of a search, and submit another search in it, in turn."""
    opened, submitted = [], []
    for text, other in each(list(zip(texts[::2], texts[1::2], strict=False)), lambda pair: pair[0]):
        browser.get(f"{url}/?{urlencode({'q': text})}")
        opened.append(wait_for_picture(browser))
        time.sleep(0.5)  # the other pictures of this page load
        browser.execute_script(SUBMIT, other)
        submitted.append(wait_for_picture(browser))
        time.sleep(0.5)
    return opened[1:], submitted[1:]  # the first search loads the model


def main() -> None:
    """Measure, print and write the results."""
    vocabulary = read_vocabulary()
    texts = [*vocabulary["queries"], *vocabulary["object_classes"], *vocabulary["science_hypotheses"]]
    with search_server() as url, open_browser() as browser:
        opened, submitted = measure(url, browser, texts[: 2 * NUM_QUERIES + 2])
    report(
        "pages",
        [
            seconds_row("page of a search, opened: first picture", Seconds(ours=tuple(opened))),
            seconds_row("another search in the page: first picture", Seconds(ours=tuple(submitted))),
        ],
    )


if __name__ == "__main__":
    main()
