"""Images by img2dataset, as its README says, to 256 px into tars of 1,000. Runs in an environment of its own.

Prints the seconds that the download took, without imports, and how many images it wrote.
"""

from __future__ import annotations

import json
import sys
import tarfile
import time
from pathlib import Path

from img2dataset import download

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    start = time.perf_counter()
    download(
        url_list=given["url_list"],
        output_folder=given["folder"],
        output_format="webdataset",
        input_format="txt",
        processes_count=given["processes"],
        thread_count=given["threads"],
        image_size=256,
        resize_mode="keep_ratio",
        encode_format=given["encode_format"],
        encode_quality=9 if given["encode_format"] == "png" else 95,
        number_sample_per_shard=given["samples_a_shard"],
        enable_wandb=False,
    )
    took_s = time.perf_counter() - start
    suffix = "." + given["encode_format"]
    tars = sorted(Path(given["folder"]).glob("*.tar"))
    num = 0
    for path in tars:
        with tarfile.open(path) as tar:
            num += sum(name.endswith(suffix) for name in tar.getnames())
    print(json.dumps({"took_s": took_s, "num_images": num, "num_bytes": sum(tar.stat().st_size for tar in tars)}))
