"""The command with limits for an archive that responds in milliseconds: `python -m tests.faults.hasty ingest`."""

from __future__ import annotations

from hubbleclip.archives.http import client
from hubbleclip.cli.app import main

HASTY = client.RequestLimits(attempts=4, backoff_s=0.02, file_timeout_s=5, stall_s=0.4, page_rows=16)

if __name__ == "__main__":
    client.LIMITS = HASTY
    main()
