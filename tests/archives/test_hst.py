"""The Hubble archive's client against a real HTTP server that speaks MAST's language; astroquery does the asking."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from hubbleclip.simulator.observations import make_proposals, observations_of
from hubbleclip.simulator.server.pages import is_in_bulk_list
from tests.archives.conftest import SKY, archive_at, observe

EXPECTED = {item.obs_id: item for proposal in make_proposals(SKY) for item in observations_of(SKY, proposal)}


def test_settings_narrow_what_is_asked_for(simulator: str, tmp_path: Path) -> None:
    told = sorted(EXPECTED.values(), key=lambda item: item.start_mjd)
    middle, cycle = told[len(told) // 2], make_proposals(SKY)[0].cycle
    numbers = {item.number for item in make_proposals(SKY) if item.cycle == cycle and is_in_bulk_list(item)}
    day = str(date(1858, 11, 17) + timedelta(days=int(middle.start_mjd)))
    start_mjd = int(middle.start_mjd)
    cone = (middle.ra_deg, middle.dec_deg, 0.01)
    for wanted, settings in (
        ({item.obs_id for item in told if item.target_name == middle.target_name}, {"targets": [middle.target_name]}),
        ({item.obs_id for item in told if item.exposure_s >= 500}, {"min_exposure_s": 500}),
        ({item.obs_id for item in told if item.start_mjd >= start_mjd}, {"observed_from": day}),
        ({item.obs_id for item in told if item.start_mjd < start_mjd}, {"observed_to": day}),
        ({item.obs_id for item in told if item.calib_level == 2}, {"calib_levels": [2]}),
        ({item.obs_id for item in told if item.proposal_number in numbers}, {"cycles": [cycle]}),
        ({item.obs_id for item in told if (item.ra_deg, item.dec_deg) == cone[:2]}, {"cone_deg": cone}),
        (set(), {"intent": "calibration"}),
        (set(), {"until": "2020-01-01"}),
    ):
        assert {item.obs_id for item in observe(archive_at(simulator, tmp_path, **settings))} == wanted, settings
