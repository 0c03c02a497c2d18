"""hubbleclip: from the Hubble archive to image-text models."""

import os

__version__ = "0.1.0"

# OpenMP reads this when torch is first imported. By default its threads spin while they wait for each other, and one
# other busy program on the same cores makes a training step 5 to 20 times slower; alone it makes no difference.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
