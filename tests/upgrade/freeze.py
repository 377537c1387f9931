"""`python -m tests.upgrade.freeze VERSION`: write down what this release puts into topics."""

import json
import re
import sys

from tests.upgrade.frozen import HERE, meaning, written


def freeze(version: str) -> None:
    """Write one release's file, which is not there yet."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"not a version: {version}"
    records = written()
    content = {"records": records, "means": meaning(records)}
    with (HERE / f"{version}.json").open("x", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    freeze(sys.argv[1])
