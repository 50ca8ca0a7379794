"""Keep the small mechanisms that packages repeat identical.

Packages may not import one another, so `errors`, `files`, `progress`, `provenance` and `command_line` are kept once in
`tools/shared/` and copied into each package, `processes`, `model_place` and `model_weights` into the two that evaluate,
`allocator` into all that run models. `python tools/sync_shared.py` copies; with `--check` it only compares, names every
file that differs and exits 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "olmo-model": "olmo_model",
    "dolma-data": "dolma_data",
    "catwalk-eval": "catwalk_eval",
    "paloma-ppl": "paloma_ppl",
}
EVALUATORS = ("catwalk-eval", "paloma-ppl")
# files that not all packages have
ONLY = dict.fromkeys(("model_place.py", "model_weights.py", "processes.py"), EVALUATORS)
ONLY["allocator.py"] = ("olmo-model", *EVALUATORS)


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: python tools/sync_shared.py [--check]", file=sys.stderr)
        return 2
    differing = []
    for original in sorted((ROOT / "tools" / "shared").glob("*.py")):
        for folder in ONLY.get(original.name, PACKAGES):
            copy = ROOT / "packages" / folder / "src" / PACKAGES[folder] / original.name
            if copy.exists() and copy.read_bytes() == original.read_bytes():
                continue
            differing.append(copy)
            if not check:
                copy.write_bytes(original.read_bytes())
    for copy in differing:
        print(f"{'differs' if check else 'copied'}: {copy.relative_to(ROOT)}")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
