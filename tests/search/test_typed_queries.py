"""Queries as astronomers type them, each with the search that it means."""

from datetime import date

import pytest

from hubbleclip.search.params import SearchParams
from hubbleclip.search.server.search_service import PageParams
from hubbleclip.search.typed_queries import Known, understand

WORDS = """a age accretion active arm arms and bar barred bright cepheid cepheids cluster clusters comet core dark deep
disk disks dust dwarf early edge elliptical field galactic galaxies galaxy globular green hh host hot infrared jet jets
jupiter lane lanes lens luminous merger moon nearby nebula of old on open planetary planets quasar remnant rings saturn
spiral star stars supernova the tail tails tidal type ultraluminous with young"""
KNOWN = Known(
    words=frozenset(WORDS.split()),
    proposals=frozenset(("10003", "10465", "11360", "12345")),
    investigators=(
        "Freedman, Wendy L.",
        "Riess, Adam G.",
        "Macri, Lucas",
        "Green, Joel",
        "de Marchi, Guido",
        "Li, Min",
        "Ada Achterhof",
    ),
    targets=frozenset(
        ("ngc1374", "ngc4258", "m101", "hudf", "orionnebula", "abell2744", "47tuc", "star", "hh30", "halo")
    ),
    instruments=("WFC3/UVIS", "WFC3/IR", "ACS/WFC", "NICMOS"),
    has_place=lambda name: name.lower().replace(" ", "") != "ngc9999",
)
INFRARED = ["NICMOS", "WFC3/IR"]


def year(first: str, last: str) -> dict:
    return {"observed_from": date.fromisoformat(first), "observed_to": date.fromisoformat(last)}


QUERIES = {
    "10465": {"proposal": ["10465"], "group": "none"},
    "GO 10465": {"proposal": ["10465"], "group": "none"},
    "GO-17301": {"proposal": ["17301"], "group": "none"},
    "programme 10003 spiral galaxy": {"proposal": ["10003"], "q": ["spiral galaxy"], "group": "none"},
    "spirals of proposal no. 12345": {"proposal": ["12345"], "q": ["spirals"], "group": "none"},
    "hst:10003": {"proposal": ["10003"], "group": "none"},
    "Freedman": {"pi": "Freedman"},
    "PI Riess": {"pi": "Riess"},
    "PI: Green": {"pi": "Green"},
    "Lucas Macri": {"pi": "Macri"},
    "Wendy Freedman cepheids": {"pi": "Freedman", "q": ["cepheids"]},
    "Ada Achterhof F160W": {"pi": "Achterhof", "filter": ["F160W"]},
    "green galaxy": {"q": ["green galaxy"]},
    "NGC 1374": {"place": "NGC 1374"},
    "NGC-1374 F606W": {"place": "NGC-1374", "filter": ["F606W"]},
    "NGC 9999": {"q": ["NGC 9999"]},
    "spiral arms of M 101": {"place": "M 101", "q": ["spiral arms"]},
    "Messier 83 in F814W": {"place": "Messier 83", "filter": ["F814W"]},
    "HUDF": {"place": "HUDF"},
    "Orion Nebula": {"place": "Orion Nebula"},
    "47 Tuc core": {"place": "47 Tuc", "q": ["core"]},
    "SN2011fe host galaxy": {"place": "SN2011fe", "q": ["host galaxy"]},
    "HH 30": {"place": "HH 30"},
    "HH jet": {"q": ["HH jet"]},
    "M5 dwarf": {"q": ["M5 dwarf"]},
    "star": {"q": ["star"]},
    "M51 within 5 arcmin": {"place": "M51", "radius": 5.0},
    "f814w spiral galaxy": {"filter": ["F814W"], "q": ["spiral galaxy"]},
    "planetary nebula with WFC3 IR": {"instrument": ["WFC3/IR"], "q": ["planetary nebula"]},
    "acs jupiter": {"instrument": ["ACS"], "q": ["jupiter"]},
    "UVIS jupiter": {"instrument": ["WFC3/UVIS"], "q": ["jupiter"]},
    "infrared": {"instrument": INFRARED},
    "globular cluster in the infrared": {"instrument": INFRARED, "q": ["globular cluster"]},
    "ultraluminous infrared galaxy": {"q": ["ultraluminous infrared galaxy"]},
    "83.82 -5.39": {"place": "83.82 -5.39"},
    "83.8221, −5.3911 r=2'": {"place": "83.8221 -5.3911", "radius": 2.0},
    "05:35:17.3 -05:23:28": {"place": "05:35:17.3 -05:23:28"},
    "05h35m17.3s −05°23′28″ F814W": {"place": "05h35m17.3s -05d23m28s", "filter": ["F814W"]},
    "J053517.3-052328": {"place": "J053517.3-052328"},
    "RA 83.82 Dec -5.39": {"place": "RA 83.82 Dec -5.39"},
    "l=209.01 b=-19.38": {"place": "l=209.01 b=-19.38"},
    "spiral galaxy near 150.1163 +2.2009": {"place": "150.1163 +2.2009", "q": ["spiral galaxy"]},
    "supernova remnant cycles 15-17": {"cycle": [15, 16, 17], "q": ["supernova remnant"]},
    "2009": year("2009-01-01", "2009-12-31"),
    "comet 2005-2010": year("2005-01-01", "2010-12-31") | {"q": ["comet"]},
    "saturn since May 2009": {"observed_from": date(2009, 5, 1), "q": ["saturn"]},
    "before 2000-03-01": {"observed_to": date(2000, 2, 29)},
    "comet until Feb 2009": {"observed_to": date(2009, 2, 28), "q": ["comet"]},
    "from 2005 comet": {"observed_from": date(2005, 1, 1), "q": ["comet"]},
    "comet > 2009": {"observed_from": date(2010, 1, 1), "q": ["comet"]},
    "comet <= 2009-05": {"observed_to": date(2009, 5, 31), "q": ["comet"]},
    "comet < 2009": {"observed_to": date(2008, 12, 31), "q": ["comet"]},
    "comet >= 2009": {"observed_from": date(2009, 1, 1), "q": ["comet"]},
    "comet up to 2009": {"observed_to": date(2009, 12, 31), "q": ["comet"]},
    "comet from May 2009 to 2010-06-07": {
        "observed_from": date(2009, 5, 1),
        "observed_to": date(2010, 6, 7),
        "q": ["comet"],
    },
    "M51 within 2 degrees": {"place": "M51", "radius": 120.0},
    "M51 r=90 arcsec": {"place": "M51", "radius": 1.5},
    "saturn cycle 15": {"cycle": [15], "q": ["saturn"]},
    "PI de Marchi": {"pi": "de Marchi"},
    "cycle:15,16": {"cycle": [15, 16]},
    "moving=true saturn": {"moving": True, "q": ["saturn"]},
    "spiral galaxy NOT bar": {"q": ["spiral galaxy"], "without": ["bar"]},
    "early-type galaxy without dust lanes": {"q": ["early-type galaxy"], "without": ["dust lanes"]},
    "NGC 9999 nebula 2009": year("2009-01-01", "2009-12-31") | {"q": ["NGC 9999 nebula"]},
    "NGC 9999 10003": {"proposal": ["10003"], "q": ["NGC 9999"], "group": "none"},
    "star cluster NOT NGC 1999": {"q": ["star cluster"], "without": ["NGC 1999"]},
    "galaxies without dust and with young stars": {"q": ["galaxies with young stars"], "without": ["dust"]},
    "galaxies without dust in the Virgo cluster": {"q": ["galaxies in the Virgo cluster"], "without": ["dust"]},
    "stars without observations in 2009": {"q": ["stars"], "without": ["observations in 2009"]},
    "galaxies NOT WFC3 and F814W": {"q": ["galaxies"], "without": ["WFC3 and F814W"]},
    "150.1163 2.2009 F814W": {"place": "150.1163 2.2009", "filter": ["F814W"]},
    "galaxies within 2″ of M51": {"place": "M51", "radius": 1 / 30, "q": ["galaxies"]},
    "within 99999 arcmin of M51": {"place": "M51", "q": ["within 99999 arcmin"]},
    "between 2005 and 2010": year("2005-01-01", "2010-12-31"),
    "HST 2009 comet": year("2009-01-01", "2009-12-31") | {"q": ["HST comet"]},
    "JWST 17301": {"proposal": ["17301"], "group": "none"},
    "ID 12345": {"proposal": ["12345"], "group": "none"},
    "galaxies near 83.8 5.4": {"place": "83.8 5.4", "q": ["galaxies"]},
    "83.8 5.4 r=2'": {"place": "83.8 5.4", "radius": 2.0},
    "filter:F814W,F606W": {"filter": ["F814W", "F606W"]},
    "exposures of 500 s of M31": {"place": "M31", "q": ["exposures of 500 s"]},
    "5′ around M31": {"place": "M31", "radius": 5.0},
    "F814W images of M31": {"filter": ["F814W"], "place": "M31"},
    "5° around M31": {"place": "M31", "radius": 300.0},
    '3" around M31': {"place": "M31", "radius": 0.05},
    "deep " * 15 + "F814W": {"filter": ["F814W"], "q": ["deep " * 14 + "deep"]},
    "galaxies, not dust, bars": {"q": ["galaxies, bars"], "without": ["dust"]},
    "galaxies NOT M31 in F814W": {"filter": ["F814W"], "q": ["galaxies"], "without": ["M31"]},
    "spirals -NGC 4258": {"q": ["spirals"], "without": ["NGC 4258"]},
    "2009 spiral 2010": year("2009-01-01", "2009-12-31") | {"q": ['spiral "2010"']},
    "M51 M101": {"place": "M51", "q": ['"M101"']},
    "NGC M51 1374": {"place": "M51", "q": ['"NGC 1374"']},
    "10° field of M51": {"place": "M51", "q": ["10° field"]},
    "mass 10^5 M51": {"place": "M51", "q": ["mass 10^5^1"]},
    " ".join(f"-word{one}" for one in "abcdefghijklmnop"): {
        "q": ["-wordp"],
        "without": [f"word{one}" for one in "abcdefghijklmno"],
    },
}


@pytest.mark.parametrize("text", QUERIES)
def test_a_typed_query_means_what_an_astronomer_means(text: str) -> None:
    found = understand(SearchParams(q=text), KNOWN)
    assert found == SearchParams(**QUERIES[text])
    assert understand(found, KNOWN) == found


@pytest.mark.parametrize(
    "text",
    [
        '"M51" spiral',
        "deep " * 16 + "F814W",
        "a" * 295 + " F814W",
        "M51^0",
        "comet since 2009-13",
        "z~2 galaxies",
        "edge-on galaxy",
        "flux 500.5, 20.3 mJy",
        "redshift 1.5 -2.5",
        "galaxies at 3.65 4.55 micron",
        "what 3.65 4.55",
        "AR 1234 sunspot",
        "2005 and 2010",
        "velocity -12345 km",
        "jets within 0.1 arcsec of the nucleus",
        "within 5 arcmin",
        "cycle:abc",
        "box=1",
        "pi=3.14",
        "PI of the programme",
        "solar cycle 24",
        "duty cycle 50",
        "cycle 20-15",
        "dark halo",
        "\ue0010\ue001 M51",
        "",
    ],
)
def test_what_is_not_surely_a_filter_stays_text(text: str) -> None:
    params = SearchParams(q=text)
    assert understand(params, KNOWN) == params


def test_a_name_that_is_to_be_avoided_is_never_a_filter() -> None:
    names = """M31;NGC 4258;47 Tuc;HUDF;HH 30;HST 12345;10003;F814W;filter:F814W;WFC3/IR;infrared;cycle 20;Freedman;
    PI Riess;2009;before 2005;150.1163 +2.2009;near 150.1163 2.2009;05:35:17.3 -05:23:28;within 5 arcmin of M31;
    M31 or M101;M31 and M101;WFC3 and F814W;Freedman and 2009;any data from 2009"""
    avoiding = (
        "but not;, not;not;NOT;but NOT the;without the;without any;NOT near;without a;except;excluding;except for"
    )
    texts = [f"galaxies {one} {name.strip()}" for one in avoiding.split(";") for name in names.split(";")]
    texts += [f"galaxies -{name.strip()}" for name in names.split(";")[:-8]]
    found = {text: understand(SearchParams(q=text), KNOWN).filter_values() for text in texts}
    assert {text: values for text, values in found.items() if values} == {}


def test_what_is_understood_stays_as_it_is_and_has_its_weight() -> None:
    once = understand(SearchParams(q=["spiral F814W^2", "M51"], filter="F606W", **{"not": "bar"}), KNOWN)
    expected = SearchParams(q="spiral^2", filter=["F606W", "F814W"], place="M51", **{"not": "bar"})
    assert once == understand(once, KNOWN) == expected


@pytest.mark.parametrize(("kind", "place"), [(SearchParams, "10 20"), (PageParams, "M51")])
def test_a_place_that_is_given_is_kept_but_on_a_page_the_newer_text_replaces_it(kind: type, place: str) -> None:
    found = understand(kind(q="M51 galaxy", place="10 20"), KNOWN)
    assert (found.place, found.q) == (place, ['"M51" galaxy' if place == "10 20" else "galaxy"])


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("M31", {"place": "M33", "radius": 2}, {"place": "M31"}),
        ("M31 r=3'", {"place": "M33", "radius": 2}, {"place": "M31", "radius": 3}),
        ("M31", {"radius": 2}, {"place": "M31", "radius": 2}),
        ("GO 10003", {"group": "sky"}, {"proposal": ["10003"], "group": "sky"}),
        ("after 2012", year("2010-01-01", "2011-01-01"), {"observed_from": date(2013, 1, 1)}),
        ("before 2005", {"observed_from": "2010-01-01"}, {"observed_to": date(2004, 12, 31)}),
    ],
)
def test_what_belonged_to_a_former_place_or_date_goes_with_it(text: str, given: dict, expected: dict) -> None:
    assert understand(PageParams(q=text, **given), KNOWN) == PageParams(**expected)


def test_the_file_of_a_picture_stays_while_the_text_beside_it_is_understood() -> None:
    params = PageParams(image=["a" * 32], q=["M51 spiral"]).model_copy(update={"image": ["/uploads/a.png"]})
    found = understand(params, KNOWN)
    assert (found.image, found.place, found.q) == (["/uploads/a.png"], "M51", ["spiral"])
