"""`make bases`: write the table of `docs/bases.md` from the models that open_clip knows."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import open_clip

from hubbleclip.training.models.text_context import is_stretchable

PAGE = Path(__file__).parents[1] / "docs/bases.md"
TABLE = re.compile(r"(?<=<!-- table by make bases -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def table() -> str:
    """Return a row per text length, per kind of text tower and per patch size, with the names of the bases."""
    names: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for name in sorted(open_clip.list_models(), key=str.lower):
        config = open_clip.get_model_config(name)
        if open_clip.list_pretrained_tags_by_model(name) and "multimodal_cfg" not in config:
            vision = config["vision_cfg"]
            timm = re.search(r"patch(\d+)", vision.get("timm_model_name", ""))
            patch = str(timm[1] if timm else vision.get("patch_size") or "-")
            length = config["text_cfg"].get("context_length", 77)
            names[length, "yes" if is_stretchable(config) else "no", patch].append(f"`{name}`")
    rows = [
        f"| {length} | {stretched} | {patch} | {', '.join(of_row)} |\n"
        for (length, stretched, patch), of_row in sorted(names.items())
    ]
    return "| text length | `context_length` | patch | bases |\n|---|---|---|---|\n" + "".join(rows)


def page() -> str:
    """Return the page with its present table."""
    return TABLE.sub(table(), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
