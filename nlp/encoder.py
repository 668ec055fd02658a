"""The sentence encoder: a sentence-transformers folder, run once per text.

One forward pass gives the base vector and the contextual state of every token; sentence vectors are pooled from the
latter (“late chunking”, Günther et al. 2024). A text longer than the model's window is cut into windows of equal size
and the windows are averaged by length, so that the demand at the end of a long letter still counts.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp.contracts import Encoding
from nlp.encoder_build import file_sha256
from nlp.errors import ArtefactDamaged, ArtefactMissing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Padded tokens a batch may hold: keeps the activations of one batch near 100 MB.
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class _Window:
    """Part of a text: model input, and which of its positions are content standing at which characters."""

    text: int
    ids: tuple[int, ...]
    content: slice
    spans: tuple[tuple[int, int], ...]


class SentenceEncoder:
    """``Encoder`` over a loaded sentence-transformers model. Not thread-safe: give it to one thread."""

    def __init__(self, model: SentenceTransformer, encoder_id: str) -> None:
        self._model = model
        self._tokenizer: Any = model.tokenizer
        self._prefix = model.prompts.get(model.default_prompt_name or "", "") or ""
        self.encoder_id = encoder_id
        self.dimension = int(model.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """One Encoding a text, in order. float32; the same text gives the same vector to 1e-5 in any batch."""
        windows = [window for index, text in enumerate(texts) for window in self._windows(index, text)]
        states: list[Any] = [None] * len(windows)
        for batch in _batches([len(window.ids) for window in windows]):
            for index, state in zip(batch, self._forward([windows[i] for i in batch]), strict=True):
                states[index] = state
        parts: list[list[tuple[_Window, Any]]] = [[] for _ in texts]
        for window, state in zip(windows, states, strict=True):
            parts[window.text].append((window, state))
        return [_merge(part) for part in parts]

    def _windows(self, index: int, text: str) -> Iterator[_Window]:
        full = self._prefix + text
        encoded = self._tokenizer(
            full, return_offsets_mapping=True, return_special_tokens_mask=True, truncation=False, verbose=False
        )
        ids, offsets, special = encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"]
        inner = [i for i, flag in enumerate(special) if not flag]
        begin, stop = (inner[0], inner[-1] + 1) if inner else (len(ids) - 1, len(ids) - 1)
        shift = len(self._prefix)
        # A token that begins in the prefix belongs to it, also when it reaches the first character.
        first = next((i for i in range(begin, stop) if offsets[i][0] >= shift), stop)
        head, tail = ids[:first], ids[stop:]
        room = int(self._model.max_seq_length or 512) - len(head) - len(tail)
        count = max(1, -(-(stop - first) // room))
        edges = [first + (stop - first) * k // count for k in range(count + 1)]
        for a, b in zip(edges, edges[1:], strict=False):
            spans = tuple((s - shift, e - shift) for s, e in offsets[a:b])
            yield _Window(index, (*head, *ids[a:b], *tail), slice(len(head), len(head) + b - a), spans)

    def _forward(self, windows: list[_Window]) -> Iterator[tuple[Any, Any]]:
        """(sentence embedding (dim,), token states (length, dim)) a window, before normalisation."""
        import torch  # noqa: PLC0415  (heavy: loads with the first encoder)

        width = max(len(window.ids) for window in windows)
        pad = self._tokenizer.pad_token_id or 0
        ids = torch.tensor([(*w.ids, *[pad] * (width - len(w.ids))) for w in windows])
        mask = torch.tensor([[1] * len(w.ids) + [0] * (width - len(w.ids)) for w in windows])
        with torch.inference_mode():
            output = self._model({"input_ids": ids, "attention_mask": mask})
        vectors = output["sentence_embedding"].float().numpy()
        tokens = output["token_embeddings"].float().numpy()
        for row, window in enumerate(windows):
            yield vectors[row], tokens[row, : len(window.ids)]


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    """Indices grouped by similar length, each group within the token budget."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[index] * (len(batch) + 1) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _merge(parts: list[tuple[_Window, Any]]) -> Encoding:
    total = sum(len(window.ids) for window, _ in parts)
    mean = sum(vector * (len(window.ids) / total) for window, (vector, _) in parts)
    norm = float(np.linalg.norm(mean))
    return Encoding(
        vector=np.asarray(mean / norm, dtype=np.float32),
        tokens=np.concatenate([states[window.content] for window, (_, states) in parts]).astype(np.float32),
        spans=np.array([span for window, _ in parts for span in window.spans], dtype=np.int64).reshape(-1, 2),
        scale=1.0 / (total * norm),
    )


def load_encoder(folder: Path) -> SentenceEncoder:
    """Load a sentence-transformers folder; raises ArtefactMissing or ArtefactDamaged naming the file.

    A folder built by this project carries ``provenance.json`` with the sha256 of its files, which are checked.
    """
    if not (folder / "modules.json").is_file():
        raise ArtefactMissing(
            folder, "找不到编码器（应为 sentence-transformers 目录，含 modules.json）；请先执行 make setup"
        )
    digests = {path.relative_to(folder).as_posix(): file_sha256(path) for path in _weight_files(folder)}
    for name, expected in _recorded(folder).items():
        if digests.get(name) != expected:
            actual = digests.get(name, "缺失")
            raise ArtefactDamaged(folder / name, f"文件损坏或被改动：应为 sha256 {expected}，实为 {actual}")
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415  (loads torch)
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    # Its bar would write over the command's own progress on stderr.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    except Exception as error:  # any loader error of three libraries means the same to the user
        raise ArtefactDamaged(folder, f"编码器无法载入：{error}") from error
    return SentenceEncoder(model.eval(), _encoder_id(folder, digests))


def _weight_files(folder: Path) -> list[Path]:
    """Weights and whatever the tokenizer is made of."""
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix in {".safetensors", ".bin", ".model", ".txt"} or p.name == "tokenizer.json"
    )


def _recorded(folder: Path) -> dict[str, str]:
    provenance = folder / "provenance.json"
    if not provenance.is_file():
        return {}
    try:
        return dict(json.loads(provenance.read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactDamaged(provenance, f"来源记录无法读取：{error}") from error


def _encoder_id(folder: Path, digests: dict[str, str]) -> str:
    """Hash of what decides the vectors: weights, tokenizer, prefix, pooling, dtype."""
    settings = [path.read_bytes() for path in sorted(folder.rglob("*config*.json"))]
    digest = hashlib.sha256(json.dumps(digests, sort_keys=True).encode())
    for content in (*settings, b"float32"):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
