"""hubbleclip: from the Hubble archive to image-text models."""

import os

__version__ = "0.1.0"

# OpenMP reads this variable when torch is first imported; the value limits how long threads spin while they wait for
# each other. With the default, one other busy program on the same cores makes a training step 5 to 20 times slower.
# Without another program the value makes no difference.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
