"""`python -m hubbleclip.cli`, for torchrun."""

from hubbleclip.cli.app import run

run()
