from __future__ import annotations

import base64
import ctypes
import json
import os
import pickle
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from separate import apart

from olmo_model.config.commands import ConvertConfig
from olmo_model.convert import command
from olmo_model.convert.command import as_lines, convert
from olmo_model.convert.end_of_document import mend, swapped
from olmo_model.convert.official import from_official_config, native_names, to_official_config
from olmo_model.convert.sources import open_source
from olmo_model.convert.writing import write_hugging_face, write_official
from olmo_model.errors import UserError
from olmo_model.model_folder import load_model, save_model

TINY = {"norm": "rms_norm", "norm_eps": 1e-6}
OLMO2 = TINY | {"norm_after": True, "qk_norm": True, "rope_theta": 500_000.0, "n_kv_heads": 2}
ARCHITECTURES = [{}, {"weight_tying": False, "clip_qkv": 0.5}, TINY, OLMO2 | {"weight_tying": False}]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
HF, OLMO = ConvertConfig(to="hf"), ConvertConfig(to="olmo")


@pytest.fixture
def native(make_model, tokens_folder, tmp_path):
    """Writes a model of this package as a Hugging Face folder."""

    def write(**changes) -> Path:
        model = make_model(**changes)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() == 1:
                    weight.uniform_(0.5, 1.5)
        folder = tmp_path / "native"
        folder.mkdir()
        save_model(folder, model, tokens_folder / "tokenizer.json")
        return folder

    return write


@pytest.fixture
def official(native, tmp_path):
    """Writes an official OLMo folder; ``rename`` changes the names of its weights."""

    def write(rename=lambda name: [name], **changes) -> Path:
        folder = tmp_path / "official"
        convert(native(**changes), folder, OLMO)
        state = torch.load(folder / "model.pt", weights_only=True)
        renamed = {new: weight for name, weight in state.items() for new in rename(name)}
        torch.save(renamed, folder / "model.pt")
        return folder

    return write


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("changes", ARCHITECTURES)
def test_a_model_comes_back_from_olmos_format_byte_for_byte(native, tmp_path, changes):
    folder = native(**changes)
    there = convert(folder, tmp_path / "olmo", OLMO)
    back = convert(tmp_path / "olmo", tmp_path / "back", HF)
    assert content(tmp_path / "back") == content(folder)
    assert there.readers == ("transformers", "olmo-model")
    assert back.readers == ("olmo-model", "transformers")
    assert max(there.difference, back.difference) <= 1e-5
    assert sorted(content(tmp_path / "olmo")) == ["config.yaml", "model.pt", "tokenizer.json"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("changes", ARCHITECTURES)
def test_an_official_model_comes_back_from_hugging_face_byte_for_byte(official, tmp_path, changes):
    folder = official(**changes)
    convert(folder, tmp_path / "hf", HF)
    convert(tmp_path / "hf", tmp_path / "again", OLMO)
    first, second = (torch.load(place / "model.pt", weights_only=True) for place in (folder, tmp_path / "again"))
    assert list(first) == list(second)
    assert all(first[name].numpy().tobytes() == second[name].numpy().tobytes() for name in first)
    assert (folder / "config.yaml").read_bytes() == (tmp_path / "again" / "config.yaml").read_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_type_of_the_weights_is_kept(native, tmp_path, dtype):
    folder = native()
    weights = {name: weight.to(dtype) for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    convert(folder, tmp_path / "olmo", OLMO)
    convert(tmp_path / "olmo", tmp_path / "back", HF)
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "back" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")


def test_a_large_model_is_written_in_files_that_transformers_reads(native, tmp_path):
    folder = native()
    done = convert(folder, tmp_path / "shards", ConvertConfig(to="hf", max_shard_size=100_000))
    files = sorted(file.name for file in (tmp_path / "shards").glob("model*"))
    count = len(files) - 1
    assert files[0] == f"model-00001-of-{count:05d}.safetensors"
    assert count > 2
    assert done.readers == ("transformers", "transformers")
    convert(tmp_path / "shards", tmp_path / "whole", HF)
    assert content(tmp_path / "whole") == content(folder)


def grouped(name: str) -> list[str]:
    layer = name.split(".")[2]
    if not layer.isdigit():
        return [name]
    number = int(layer)
    return [name.replace(f"blocks.{layer}.", f"block_groups.{number // 2}.{number % 2}.")]


VARIANTS = {
    "fsdp": lambda name: ["_fsdp_wrapped_module." + name.replace("blocks.1.", "blocks.1._fsdp_wrapped_module.")],
    "groups": grouped,
    "hf_olmo": lambda name: ["model." + name],
    "safetensors": lambda name: [base64.urlsafe_b64encode(pickle.dumps(((name,), False))).decode()],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_of_every_writer_are_understood(official, tmp_path, variant):
    folder = official(VARIANTS[variant], n_layers=4, **TINY)
    convert(folder, tmp_path / "hf", HF)
    ours = load_model(tmp_path / "native").state_dict()
    theirs = load_model(tmp_path / "hf").state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_the_single_norm_of_early_blocks_stands_for_both():
    names = native_names(["transformer.blocks.0.norm.weight", "transformer.wte.weight"])
    assert names == {
        "transformer.blocks.0.attn_norm.weight": "transformer.blocks.0.norm.weight",
        "transformer.blocks.0.ff_norm.weight": "transformer.blocks.0.norm.weight",
        "transformer.wte.weight": "transformer.wte.weight",
    }


def test_a_pickled_name_is_read_and_not_executed(tmp_path):
    plain = "gASVHwAAAAAAAACMFnRyYW5zZm9ybWVyLnd0ZS53ZWlnaHSUhZSJhpQu"
    assert native_names([plain]) == {"transformer.wte.weight": plain}

    class Harmful:
        def __reduce__(self):
            return Path.mkdir, (tmp_path / "made",)

    harmful = base64.urlsafe_b64encode(pickle.dumps(((Harmful(),), False))).decode()
    assert list(native_names([harmful]).values()) == [harmful]
    assert not (tmp_path / "made").exists()


def test_weights_in_safetensors_and_the_old_hugging_face_code_are_read(official, tmp_path):
    folder = official()
    state = torch.load(folder / "model.pt", weights_only=True)
    save_file({"model." + name: weight.clone() for name, weight in state.items()}, folder / "model.safetensors")
    (folder / "model.pt").unlink()
    section = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    (folder / "config.yaml").unlink()
    (folder / "config.json").write_text(json.dumps({"model_type": "hf_olmo"} | section))
    convert(folder, tmp_path / "hf", HF)
    assert content(tmp_path / "hf") == content(tmp_path / "native")


def test_fields_that_older_code_lacks_have_its_defaults(make_model):
    config = make_model(mlp_hidden_size=256).config
    section = to_official_config(config)
    assert not {"n_kv_heads", "layer_norm_eps", "norm_after", "rope_theta"} & set(section)
    assert from_official_config(section, "config.yaml") == config
    section["mlp_hidden_size"], section["mlp_ratio"] = None, 4
    assert from_official_config(section, "config.yaml") == config
    section["multi_query_attention"] = True
    assert from_official_config(section, "config.yaml").n_kv_heads == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alibi": True}, "model.alibi is True"),
        ({"block_type": "llama"}, "model.block_type is 'llama'"),
        ({"include_bias": True}, "model.include_bias is True"),
        ({"layer_norm_with_affine": True}, "model.layer_norm_with_affine is True"),
        ({"layer_norm_type": "rms"}, "model.layer_norm_with_affine is False"),
        ({"activation_type": "gelu"}, "model.activation_type is 'gelu'"),
        ({"attention_layer_norm": True, "attention_layer_norm_with_affine": True}, "no Hugging Face model has"),
        ({"d_model": "wide"}, "model.d_model is 'wide', no whole number"),
    ],
)
def test_official_models_without_a_twin_are_refused(official, tmp_path, changes, message):
    folder = official()
    values = yaml.safe_load((folder / "config.yaml").read_text())
    values["model"] |= changes
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=message) as found:
        convert(folder, tmp_path / "hf", HF)
    assert str(folder / "config.yaml") in str(found.value)
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("transformer.wte.weight"), r"transformer\.wte\.weight is missing"),
        (lambda state: state.update(other=torch.ones(2)), "other has no place"),
        (
            lambda state: state.update({"transformer.wte.weight": torch.ones(2, 2)}),
            r"has shape \(2, 2\), not \(384, 64\)",
        ),
        (lambda state: state.update(step=3), "more than weights by name"),
        (lambda state: state.update({"transformer.wte.weight": torch.ones(384, 64).long()}), "is torch.int64"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_written(official, tmp_path, change, message):
    folder = official()
    state = torch.load(folder / "model.pt", weights_only=True)
    change(state)
    torch.save(state, folder / "model.pt")
    with pytest.raises(UserError, match=message):
        convert(folder, tmp_path / "hf", HF)
    assert not list(tmp_path.glob("hf*"))


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


def test_a_pickle_of_more_than_weights_is_never_run(official, tmp_path, monkeypatch):
    folder = official()
    monkeypatch.chdir(tmp_path)
    torch.save({"transformer.wte.weight": Evil()}, folder / "model.pt")
    with pytest.raises(UserError, match="no readable weights"):
        convert(folder, tmp_path / "hf", HF)
    (folder / "model.pt").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="no readable weights"):
        convert(folder, tmp_path / "hf", HF)
    assert not (tmp_path / "evil").exists()


def test_nothing_is_written_where_logits_differ(native, tmp_path, monkeypatch):
    folder = native()

    def damaged(place, weights, config, tokenizer, max_shard_size):
        def read(name):
            return weights.read(name) * (1.001 if name.endswith("0.attn_out.weight") else 1.0)

        write(place, type(weights)(config=weights.config, read=read), config, tokenizer, max_shard_size)

    write = command.write_hugging_face
    monkeypatch.setattr(command, "write_hugging_face", damaged)
    with pytest.raises(UserError, match=r"logits of the two models differ by .* nothing was written"):
        convert(folder, tmp_path / "hf", HF)
    assert not list(tmp_path.glob("hf*"))


def test_a_target_is_replaced_only_when_asked_and_only_if_it_is_a_model(native, tmp_path):
    folder = native()
    target = tmp_path / "target"
    convert(folder, target, OLMO)
    with pytest.raises(UserError, match="the target exists"):
        convert(folder, target, HF)
    again = ConvertConfig(to="hf", overwrite=True)
    convert(folder, target, again)
    assert (target / "config.json").is_file()
    assert not (target / "model.pt").exists()
    assert len(list((target / "provenance").iterdir())) == 2
    with pytest.raises(UserError, match="the target holds the model to convert"):
        convert(target, target, again)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("dear")
    with pytest.raises(UserError, match="the target holds no model"):
        convert(folder, tmp_path / "letters", again)
    assert (tmp_path / "letters" / "to-mother.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "no model here"), ({"config.yaml": "model: {}"}, "model.rope is False"), ({"config.yaml": "a: 1"}, "model")],
)
def test_folders_that_hold_no_model_are_refused(tmp_path, files, message):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=message):
        convert(folder, tmp_path / "out", HF)


def test_a_sharded_official_checkpoint_says_how_to_unshard(official, tmp_path):
    folder = official()
    (folder / "model.pt").rename(folder / "rank0.pt")
    with pytest.raises(UserError, match="the checkpoint is sharded"):
        convert(folder, tmp_path / "hf", HF)


@pytest.fixture
def neox(data_dir):
    """The two NeoX tokenizers: documents end in 0, in 50279."""
    folder = data_dir / "tokenizers"
    return (
        folder / "allenai_eleuther-ai-gpt-neox-20b-pii-special.json",
        folder / "allenai_gpt-neox-olmo-dolma-v1_5.json",
    )


@pytest.fixture
def data_dir():
    if not os.environ.get("DATA_DIR"):
        pytest.skip("needs the real tokenizers (environment variable DATA_DIR)")
    return Path(os.environ["DATA_DIR"])


@pytest.fixture
def neox_config(make_model):
    def make(eos):
        shape = {"d_model": 8, "n_heads": 2, "n_layers": 1, "mlp_hidden_size": 128}
        return make_model(**shape, vocab_size=50280, embedding_size=50304, eos_token_id=eos).config

    return make


def test_the_trap_of_the_two_ids_is_explained_and_mended(neox, neox_config):
    old, right = neox
    found = mend(neox_config(0), right, keep=False)
    assert (found.config.eos_token_id, found.tokenizer) == (50279, None)
    assert "two tokenizers of OLMo v1 swap the ids 0 and 50279" in found.note
    found = mend(neox_config(50279), old, keep=False)
    assert found.config.eos_token_id == 50279
    assert json.loads(found.tokenizer) == json.loads(right.read_text())
    for eos, tokenizer in ((0, right), (50279, old)):
        kept = mend(neox_config(eos), tokenizer, keep=True)
        assert (kept.config.eos_token_id, kept.tokenizer) == (eos, None)
        assert kept.note.endswith("kept as you wish")
    for eos, tokenizer in ((0, old), (50279, right), (50279, None)):
        assert mend(neox_config(eos), tokenizer, keep=False).note is None


def test_without_a_tokenizer_the_vocabulary_betrays_the_trap(neox_config):
    assert mend(neox_config(0), None, keep=False).config.eos_token_id == 50279


def test_the_swap_undoes_itself(neox, tmp_path):
    once = tmp_path / "once.json"
    once.write_bytes(swapped(neox[1]))
    assert json.loads(swapped(once)) == json.loads(neox[1].read_text())


def test_the_mended_tokenizer_and_id_are_what_is_written(neox, make_model, tmp_path):
    shape = {"d_model": 8, "n_heads": 2, "n_layers": 1, "mlp_hidden_size": 128, "eos_token_id": 50279}
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder, make_model(**shape, vocab_size=50280, embedding_size=50304), neox[0])
    done = convert(folder, tmp_path / "olmo", OLMO)
    convert(tmp_path / "olmo", tmp_path / "hf", HF)
    assert as_lines(done)[0].startswith("note: the tokenizer ends documents in 0, the model in 50279")
    assert json.loads((tmp_path / "hf" / "tokenizer.json").read_text()) == json.loads(neox[1].read_text())
    assert json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())["eos_token"] == "<|endoftext|>"
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["vocab_size"] == 50304


def test_a_model_without_a_tokenizer_is_converted_and_says_so(official, tmp_path):
    folder = official()
    (folder / "tokenizer.json").unlink()
    done = convert(folder, tmp_path / "hf", HF)
    assert any("no tokenizer.json" in note for note in done.notes)
    assert not (tmp_path / "hf" / "tokenizer.json").exists()
    given = ConvertConfig(to="hf", tokenizer=str(tmp_path / "native" / "tokenizer.json"))
    convert(folder, tmp_path / "whole", given)
    assert content(tmp_path / "whole") == content(tmp_path / "native")


def held() -> int:
    """Bytes of memory that are no cache of a file."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


def most_held(source: Path, target: Path, to: str) -> int:
    """Bytes that writing a model adds at most to what the process holds."""
    for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):  # what is freed goes back at once, so what is held is in use
        ctypes.CDLL(None).mallopt(parameter, 1 << 16)
    target.mkdir()
    start, peaks, done = held(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            peaks.append(held())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with ExitStack() as stack:
            found = open_source(str(source), stack)
            if to == "hf":
                write_hugging_face(target, found.weights, found.weights.config, None, 20_000_000)
            else:
                write_official(target, found.weights, found.weights.config, None)
    finally:
        done.set()
        watcher.join()
    return max(peaks) - start


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's means")
def test_writing_holds_one_file_of_weights_and_never_the_model(make_model, tokens_folder, tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    model = make_model(d_model=512, n_layers=16, mlp_hidden_size=4096, embedding_size=4096)
    save_model(folder, model, tokens_folder / "tokenizer.json")
    size = (folder / "model.safetensors").stat().st_size
    assert size > 240_000_000
    for source, target, to in ((folder, "olmo", "olmo"), (tmp_path / "olmo", "hf", "hf")):
        assert apart(most_held, source, tmp_path / target, to) < size / 4
    written = load_model(tmp_path / "hf").state_dict()
    assert all(torch.equal(weight, written[name]) for name, weight in model.state_dict().items())


def test_old_checkpoints_without_the_new_keys_still_load(native):
    folder = native()
    values = json.loads((folder / "config.json").read_text())
    for key in ("num_key_value_heads", "dtype", "rope_parameters"):
        del values[key]
    (folder / "config.json").write_text(json.dumps(values))
    assert load_model(folder).config.twin == "olmo"
