"""Images by img2dataset, as in its README, to 256 px in tars. Runs in an environment of its own.

Prints the seconds of the download, without imports, and the number and bytes of the images written.
"""

from __future__ import annotations

import json
import sys
import tarfile
import time
from pathlib import Path

from img2dataset import download

if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    start = time.perf_counter()
    download(
        url_list=arguments["url_list"],
        output_folder=arguments["folder"],
        output_format="webdataset",
        input_format="txt",
        processes_count=arguments["processes"],
        thread_count=arguments["threads"],
        image_size=256,
        resize_mode="keep_ratio",
        encode_format=arguments["encode_format"],
        encode_quality=9 if arguments["encode_format"] == "png" else 95,
        number_sample_per_shard=arguments["samples_per_shard"],
        enable_wandb=False,
    )
    took_s = time.perf_counter() - start
    suffix = "." + arguments["encode_format"]
    tars = sorted(Path(arguments["folder"]).glob("*.tar"))
    num = 0
    for path in tars:
        with tarfile.open(path) as tar:
            num += sum(name.endswith(suffix) for name in tar.getnames())
    print(json.dumps({"took_s": took_s, "num_images": num, "num_bytes": sum(tar.stat().st_size for tar in tars)}))
