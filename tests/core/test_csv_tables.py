"""A CSV file shows its texts and does nothing else."""

import pyarrow as pa

from hubbleclip.core.csv_tables import csv_bytes


def test_formulas_and_control_characters_are_texts() -> None:
    texts = ["=1+1", "+1", "-M 31", "@x", "\t=1", "M 31-a", "a\x1b[2J\r", None]
    columns = pa.array(texts), pa.array(texts, pa.large_string()), pa.array(texts).dictionary_encode()
    expected = ["'=1+1", "'+1", "'-M 31", "'@x", "'\t=1", "M 31-a", "a\ufffd[2J\ufffd"]
    lines = [f'"{text}",-1\n' for text in expected]
    for column in columns:
        table = pa.table({"text": column, "number": [-1.0] * len(texts)})
        assert csv_bytes(table).decode() == "".join(['"text","number"\n', *lines, ",-1\n"])
        assert csv_bytes(table[:1], has_header=False) == b'"\'=1+1",-1\n'
