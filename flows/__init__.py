"""The Prefect flows.

Importing this package sets the loggers of hubbleclip to the level INFO, in worker processes too.
"""

import logging

logging.getLogger("hubbleclip").setLevel(logging.INFO)
