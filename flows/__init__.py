"""Prefect flows, one file a stage. Our own loggers speak from INFO on in every process, a worker's ones included."""

import logging

logging.getLogger("hubbleclip").setLevel(logging.INFO)
