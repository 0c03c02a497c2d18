"""Run the command line as `python -m hubbleclip.cli`, which torchrun needs."""

from hubbleclip.cli.app import main

main()
