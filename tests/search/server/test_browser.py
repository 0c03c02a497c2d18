"""The pages in a real browser: each kind of query, filters, paging, the tile's page, maps, the back button, narrow and dark."""

import io
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from PIL import Image
from search_site import IDS, SIZE_PX, fits_header
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from web_search import service_of

from hubbleclip.search.engine import NUM_SQUARES, Search

pytestmark = pytest.mark.nightly
AXE = "axe-core@4.14.1"


@pytest.fixture
def url(start: Callable[..., str], search: Search) -> str:
    return start(service_of(search, explain=lambda tile_id: {"tile_id": tile_id, "shard": "train-000001.tar"}))


@pytest.fixture(scope="module")
def chrome() -> Iterator[object]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        yield browser


class Page:
    """The browser, with the few gestures that the tests make."""

    def __init__(self, chrome, url: str) -> None:
        self.chrome, self.url = chrome, url

    def size(self, width: int, height: int = 900, *, is_dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, path: str) -> None:
        self.chrome.get(self.url + path)

    def point(self, css: str, dx: int, dy: int) -> ActionChains:
        """Move the pointer to a place beside the centre of an element."""
        return ActionChains(self.chrome).move_to_element_with_offset(self.one(css), dx, dy)

    def all(self, css: str) -> list:
        return self.chrome.find_elements("css selector", css)

    def one(self, css: str):
        return self.until(lambda: self.all(css), css)[0]

    def until(self, ready: Callable[[], object], what: str, timeout_s: float = 20):
        deadline = time.monotonic() + timeout_s
        while not (found := ready()):
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.05)
        return found

    def parameters(self) -> dict:
        return parse_qs(urlsplit(self.chrome.current_url).query)

    def wait_for_url(self, **parameters: list[str]) -> None:
        self.until(lambda: self.parameters() == parameters, f"{parameters}, not {self.parameters()},")

    def tiles(self) -> list[str]:
        return [urlsplit(a.get_attribute("href")).path.rpartition("/")[2] for a in self.all(".tile .picture")]

    def grey(self, css: str) -> np.ndarray:
        """What an element looks like now."""
        self.chrome.execute_script("window.scrollTo(0, 0)")
        return np.asarray(Image.open(io.BytesIO(self.one(css).screenshot_as_png)).convert("L"), float)

    def pictures_are_loaded(self) -> bool:
        script = (
            "return [...document.images].filter(i => i.loading !== 'lazy').every(i => i.complete && i.naturalWidth > 0)"
        )
        return self.chrome.execute_script(script)

    def is_wider_than_the_screen(self) -> bool:
        return self.chrome.execute_script("return document.documentElement.scrollWidth > innerWidth")

    def problems(self) -> list[str]:
        return [entry["message"] for entry in self.chrome.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def page(chrome, url: str) -> Iterator[Page]:
    page = Page(chrome, url)
    page.size(1300)
    page.problems()
    yield page
    assert page.problems() == []
    page.chrome.get("about:blank")  # its server stops now


def test_a_text_is_searched_without_a_reload_and_the_back_button_returns(page: Page) -> None:
    page.open("/")
    page.chrome.execute_script("window.isSame = true")
    page.one("#q").send_keys("dust NGC 103 F814W\n")
    page.wait_for_url(q=["dust"], place=["NGC 103"], filter=["F814W"])
    page.until(lambda: page.chrome.title == "dust · hubbleclip", "the title")
    page.until(lambda: page.all(".ranks .score"), "the hits")
    assert page.one("input[name=filter][value=F814W]").is_selected()
    assert page.chrome.execute_script("return window.isSame === true")
    assert page.pictures_are_loaded() or page.until(page.pictures_are_loaded, "the pictures")
    page.chrome.back()
    page.until(lambda: page.all(".examples"), "the empty page")
    page.chrome.forward()
    page.until(lambda: page.all(".ranks .score"), "the hits")
    assert page.one("#q").get_attribute("value") == "dust"


def test_the_first_hit_is_at_most_ten_tabs_away(page: Page) -> None:
    page.open("/?q=galaxy&instrument=WFC3/IR")
    for _ in range(10):
        page.chrome.switch_to.active_element.send_keys(Keys.TAB)
        if "picture" in (page.chrome.switch_to.active_element.get_attribute("class") or ""):
            return
    pytest.fail("no hit within 10 tabs")


def test_chosen_tiles_are_compared_and_selected(page: Page, search: Search) -> None:
    page.open("/?q=galaxy")
    boxes = page.all(".tile [name=tile]")[:2]
    wanted = [box.get_attribute("value") for box in boxes]
    for box in boxes:
        box.click()
    page.one(".choose [formaction]").click()
    page.until(lambda: len(page.all(".compare thead a")) == 2, "the comparison")
    page.open("/?q=galaxy")
    page.one(".tile [name=tile]")
    for box in page.all(".tile [name=tile]")[:2]:
        box.click()
    page.one(".choose [name=name]").send_keys("mine")
    page.one(".choose [value=add]").click()
    page.wait_for_url(selection=["mine"], group=["none"])
    assert sorted(page.tiles()) == sorted(wanted)
    search.selections.unlink()


def test_filters_blink_and_a_part_of_a_tile_is_searched_with(page: Page) -> None:
    page.open(f"/tiles/{IDS[10]}")
    page.until(page.pictures_are_loaded, "the picture")
    page.one("[data-do=part]").click()
    page.point("#frame", -100, -100).click_and_hold().move_by_offset(150, 120).release().perform()
    page.until(lambda: "image" in page.parameters(), "the search by the part")
    page.one(".asked")


def test_choices_submit_at_once(page: Page, search: Search) -> None:
    page.open("/?q=galaxy")
    before = page.tiles()
    page.one("input[name=instrument][value='WFC3/IR']").click()
    page.until(lambda: page.parameters().get("instrument") == ["WFC3/IR"] and page.tiles() != before, "the filter")
    assert {search.tile(i).facts["instrument"] for i in page.tiles()} == {"WFC3/IR"}
    page.one("[name=mode] option[value=words]").click()
    page.wait_for_url(q=["galaxy"], instrument=["WFC3/IR"], mode=["words"])


def test_a_picture_is_uploaded(page: Page, search: Search) -> None:
    page.open("/?mode=model")
    page.chrome.execute_script("document.getElementById('upload').classList.remove('hidden')")
    page.one("#file").send_keys(str(search.tile(IDS[7]).picture))
    page.until(lambda: "image" in page.parameters(), "the upload")
    page.one(".asked")
    page.one("[name=mode] option[value=model]").click()
    page.until(lambda: page.parameters().get("mode") == ["model"], "the mode")
    page.until(lambda: page.tiles() and page.tiles()[0] == IDS[7], "the tile of the picture")


def test_a_tile_shows_the_position_under_the_cursor_zooms_and_inverts(page: Page, search: Search) -> None:

    tile_id = IDS[10]
    page.open("/?group=none&k=48")
    page.one(f".picture[href^='/tiles/{tile_id}']").click()
    frame, cursor = page.one("#frame"), page.one("#cursor")
    page.until(page.pictures_are_loaded, "the picture")
    header = WCS(fits_header(search.tile(tile_id).facts["wcs"]))
    box = page.chrome.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width]", frame
    )
    for dx, dy in ((-200, -150), (120, 180)):
        page.point("#frame", dx, dy).perform()
        page.until(lambda: "RA" in cursor.text and cursor.get_attribute("data-ra"), "the position")
        x, y = (box[2] / 2 + dx) / box[2] * SIZE_PX, (box[2] / 2 + dy) / box[2] * SIZE_PX
        expected = header.pixel_to_world(x - 0.5, SIZE_PX - 0.5 - y).icrs
        found = SkyCoord(float(cursor.get_attribute("data-ra")), float(cursor.get_attribute("data-dec")), unit="deg")
        assert found.separation(expected).arcsec < 0.05
    picture = page.one("#picture")
    frame.send_keys("+")
    assert "scale(1.5)" in picture.get_attribute("style")
    frame.send_keys("i")
    assert "invert(1)" in picture.get_attribute("style")
    page.one("[data-do=reset]").click()
    assert "scale(1)" in picture.get_attribute("style")
    assert "invert" not in picture.get_attribute("style")
    linear = page.grey("#frame")
    page.one("#stretch option:nth-child(3)").click()
    page.until(lambda: page.grey("#frame").mean() > linear.mean() + 20, "a brighter picture")
    page.one("[data-do=reset]").click()
    page.until(lambda: np.abs(page.grey("#frame") - linear).mean() < 1, "the picture as it was")
    page.one(".go .main").click()
    page.wait_for_url(like=[tile_id])
    assert page.tiles()[0] == tile_id


def test_an_occlusion_map_lies_over_the_picture_and_goes_away(page: Page, search: Search) -> None:
    page.open("/?q=spiral+galaxy&group=none")
    page.one(".tile .picture").click()
    assert page.one(".occlude input").get_attribute("value") == "spiral galaxy"
    page.until(page.pictures_are_loaded, "the picture")
    before = page.grey("#frame")
    page.one(".occlude button").click()
    page.until(lambda: len(page.all("#overlay rect")) == NUM_SQUARES**2, "the map")
    assert "Similarity to “spiral galaxy”" in page.one("#occlusion").text
    assert np.abs(page.grey("#frame") - before).mean() > 3
    page.one("[data-do=uncover]").click()
    page.until(lambda: np.abs(page.grey("#frame") - before).mean() < 1, "the picture alone")


def test_a_cone_is_drawn_on_the_sky(page: Page) -> None:
    page.open("/sky")
    page.point("#sky", 3, 3).click_and_hold().move_by_offset(60, 0).release().perform()
    ra, dec = map(float, page.one("#place").get_attribute("value").split())
    assert min(ra, 360 - ra) < 3
    assert abs(dec) < 3
    assert 600 < float(page.one("#radius").get_attribute("value")) < 2000
    page.one(".cone .main").click()
    page.until(lambda: "place" in page.parameters(), "the search")
    page.open("/sky")
    page.chrome.execute_script(
        "document.querySelector('#sky a').dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))"
    )
    page.until(page.tiles, "the tiles of a cell")


def test_a_loop_on_the_map_lists_and_saves_tiles(page: Page, tmp_path: Path, search: Search) -> None:
    page.chrome.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.size(1300, 1300)
    page.open("/map")
    canvas = page.one("#map[data-ready]")
    dx, dy = canvas.size["width"] // 2 - 5, canvas.size["height"] // 2 - 5
    drag = page.point("#map", -dx, -dy).click_and_hold()
    for step in ((dx, 0), (dx, 0), (0, dy), (0, dy), (-dx, 0), (-dx, 0), (0, -dy)):
        drag = drag.move_by_offset(*step)
    drag.release().perform()
    num = int(page.until(lambda: page.one("#num").text if page.one("#num").text != "0" else None, "a choice"))
    assert len(page.all("#chosen img")) == min(num, 60)
    page.one("#export").click()
    path = tmp_path / "hubbleclip-tiles.csv"
    page.until(path.is_file, "the file")
    lines = page.until(lambda: path.read_text().splitlines(), "its content")
    assert lines[0] == "tile_id"
    assert len(lines) == num + 1
    assert set(lines[1:]) == set(IDS)
    page.one("#clear").click()
    assert page.one("#num").text == "0"


def test_the_map_has_colours_with_a_legend_that_chooses(page: Page, search: Search) -> None:
    page.open("/map")
    page.one("#map[data-ready]")
    legend = [" ".join(button.text.split()) for button in page.all("#legend button")]
    assert sorted(legend) == ["ACS/WFC 16", "WFC3/IR 16", "WFC3/UVIS 16"]
    assert len({button.value_of_css_property("background-color") for button in page.all("#legend .swatch")}) == 3
    page.one("#colour option[value=category]").click()
    page.until(lambda: page.parameters() == {"colour": ["category"]}, "the colour in the address")
    button = next(one for one in page.all("#legend button") if "STARS" in one.text)
    button.click()
    assert page.one("#num").text == "24"
    chosen = {urlsplit(a.get_attribute("href")).path.rpartition("/")[2] for a in page.all("#chosen a")}
    assert {search.tile(i).facts["category"] for i in chosen} == {"STARS"}
    page.chrome.refresh()
    page.one("#map[data-ready]")
    assert page.one("#colour").get_attribute("value") == "category"


def test_the_map_shows_a_tile_under_the_cursor_and_by_keys(page: Page, search: Search) -> None:
    page.open("/map")
    canvas = page.one("#map[data-ready]")
    canvas.send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: "NGC-" in page.one("#hover p").text, "the tile")
    first = page.one("#hover img").get_attribute("src")
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert page.one("#hover img").get_attribute("src") != first
    canvas.send_keys(Keys.ARROW_LEFT)
    assert page.one("#hover img").get_attribute("src") == first
    canvas.send_keys(" ")
    assert page.one("#num").text == "1"
    canvas.send_keys(" ")
    assert page.one("#num").text == "0"
    points, margin = search.points(), 24
    pca_n2 = np.stack([points.x, points.y], axis=1)
    share_n2 = (pca_n2 - pca_n2.min(axis=0)) / np.ptp(pca_n2, axis=0) - 0.5
    dx, dy = share_n2[17] * (canvas.size["width"] - 2 * margin, 2 * margin - canvas.size["height"])
    page.point("#map", round(dx), round(dy)).perform()
    page.until(lambda: points.tile_ids[17] in page.one("#hover img").get_attribute("src"), "the tile under the cursor")
    ActionChains(page.chrome).click().perform()
    page.one("#frame")
    assert page.chrome.current_url.endswith(f"/tiles/{points.tile_ids[17]}")


def grey_of(colour: str) -> float:
    return sum(float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3])


def test_keys_reach_everything(page: Page) -> None:
    page.open("/?q=galaxy")
    page.one("body").send_keys("/")
    assert page.chrome.switch_to.active_element.get_attribute("id") == "q"
    page.chrome.execute_script("document.querySelector('.tile .picture').focus()")
    page.chrome.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.tiles()[1] in page.chrome.switch_to.active_element.get_attribute("href")
    page.chrome.switch_to.active_element.send_keys(Keys.ENTER)
    page.one("#frame")


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm: its file is too large to keep here."""
    folder = tmp_path_factory.mktemp("axe")
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    packed = subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if packed.returncode:
        pytest.skip(f"npm cannot fetch {AXE}")
    shutil.unpack_archive(next(folder.glob("*.tgz")), folder)
    return (folder / "package/axe.min.js").read_text(encoding="utf-8")


def axe_findings(page: Page, axe: str) -> list[str]:
    page.chrome.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    rules = "{rules: {'target-size': {enabled: true}}}"
    found = page.chrome.execute_async_script(
        f"const done = arguments[0]; axe.run({rules}).then((r) => done(r.violations))"
    )
    return [f"{v['id']}: {[n['html'][:120] for n in v['nodes'][:3]]}" for v in found]


PATHS = (
    "/",
    "/?q=galaxy&place=10+10&instrument=WFC3/IR",
    "/?q=spiral&k=4",
    "/tiles/{}",
    "/sky",
    "/map",
    "/?exposure_s_min=1e9",
    "/?q=sipral+galxy&sort=date",
    "/sky?q=galaxy",
    "/selections",
    "/compare?tile={}&tile={}",
)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 400])
def test_pages_are_accessible_fit_the_screen_and_have_the_colours_of_the_scheme(
    width: int, is_dark: bool, page: Page, search: Search, axe: str
) -> None:
    findings = {}
    page.size(width, is_dark=is_dark)
    for path in PATHS:
        page.open(path.format(IDS[5], IDS[6]))
        ink, paper = (page.one("body").value_of_css_property(name) for name in ("color", "background-color"))
        assert (grey_of(ink) > grey_of(paper)) == is_dark
        findings[path] = axe_findings(page, axe) + ["too wide"] * page.is_wider_than_the_screen()
    assert not any(findings.values()), json.dumps(findings, indent=1)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_maps_on_demand_are_accessible(is_dark: bool, page: Page, search: Search, axe: str) -> None:
    page.size(1300, is_dark=is_dark)
    page.open(f"/tiles/{IDS[5]}?q=galaxy")
    page.one(".occlude button").click()
    page.one("#overlay rect")
    page.one(".more details summary").click()
    assert axe_findings(page, axe) == []
    page.open("/map")
    page.one("#legend button").click()
    page.one("#chosen img")
    assert axe_findings(page, axe) == []
