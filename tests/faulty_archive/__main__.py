"""Serve the simulated archive with faults and odd contents: `python -m tests.faulty_archive --settings JSON`."""

import sys

from hubbleclip.simulator.__main__ import main
from tests.faulty_archive.archive import FaultySettings, make_faulty_app

if __name__ == "__main__":
    sys.exit(main(FaultySettings, make_faulty_app))
