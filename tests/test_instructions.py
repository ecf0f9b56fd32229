"""The work of each kind of call, in processor instructions, is what it was. Instructions
are counted by callgrind; they do not depend on what else runs.

    python tests/test_instructions.py    # writes instructions.json anew, if more is meant
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from slaf.data.synthetic import write_synthetic

HERE = Path(__file__).parent
KEPT = HERE / "instructions.json"
#: Threads meet in another order each time: what a call may need more than before.
MORE = 1.15
REQUESTS = r"""
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
"""


def counted(folder: Path) -> dict[str, int]:
    """The instructions of each call."""
    code, library, source = folder / "requests.c", folder / "requests.so", folder / "x.h5ad"
    code.write_text(REQUESTS)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, code], check=True)
    write_synthetic(source, 4_000, 5_000)
    watched = [
        *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/counted"),
        *(sys.executable, HERE / "counted_calls.py", library, source, folder),
    ]
    done = subprocess.run(watched, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {}
    for file in folder.glob("counted.*"):
        facts = dict(line.split(": ", 1) for line in file.read_text().splitlines() if ": " in line)
        found[facts["desc"].removeprefix("Trigger: Client Request: ")] = int(facts["summary"])
    return found


def test_no_call_needs_more_instructions(tmp_path):
    kept, found = json.loads(KEPT.read_text()), counted(tmp_path)
    assert found.keys() == kept.keys()
    more = {name: f"{kept[name]:,} → {n:,}" for name, n in found.items() if n > kept[name] * MORE}
    assert not more


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        KEPT.write_text(json.dumps(counted(Path(made)), indent=1, sort_keys=True) + "\n")
