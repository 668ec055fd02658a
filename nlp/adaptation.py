"""Adapts the encoder to the matters with low-rank updates (LoRA, Hu et al. 2021) on its upper layers.

An update ``s·b·a`` is learned for every linear map of the layers from ``LOWEST`` up. The lower layers stay as they are,
so their output is computed once and kept. The loss is the log loss over matters and over themes of a strongly
regularised linear head, plus relational distillation (Park et al. 2019): the cosines between the texts of a batch must
stay near the base encoder's, which keeps the vectors fit for similarity. The head only guides the updates; the theme
model fits its own on the adapted vectors, and its out-of-fold outputs come from cross-fitting adaptation and model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp.artefact import load_artefact, save_artefact
from nlp.contracts import FloatArray
from nlp.errors import ArtefactMismatch

LOWEST = 6
RANK = 16
SCALE = 2.0
MAX_TOKENS = 160
EPOCHS = 1
BATCH = 24
LEARNING_RATE = 3e-4
HEAD_LEARNING_RATE = 2e-3
# Of the head's squared weights, per text. Weaker heads learn the writers of the corpus, not the matters.
RIDGE = 0.003
DROPOUT = 0.1
DISTILLATION = 100.0
SEED = 20220101

TASK = "encoder-delta"
_SETTINGS = (
    "LOWEST",
    "RANK",
    "SCALE",
    "MAX_TOKENS",
    "EPOCHS",
    "BATCH",
    "LEARNING_RATE",
    "RIDGE",
    "DISTILLATION",
    "SEED",
)

Progress = Callable[[str, int, int], None]
IntVector = NDArray[np.int64]
# Name of a weight matrix (outputs, inputs) → (a (rank, inputs), b (outputs, rank)), to add SCALE·b·a.
Factors = dict[str, tuple[FloatArray, FloatArray]]


class Adapter:
    """Learns updates for the encoder in ``folder`` on n normalised texts of matters ``y`` (n,).

    ``theme_of`` (K,) maps matters to themes. Deterministic for a given machine and number of threads.
    """

    def __init__(
        self, folder: Path, texts: Sequence[str], y: IntVector, theme_of: IntVector, progress: Progress
    ) -> None:
        self._base = _Base(folder, texts, progress)
        self._y, self._theme_of, self._progress = y, theme_of, progress

    def fit(self, rows: IntVector, what: str) -> Adapted:
        """What is learned from some of the texts; ``what`` names the run in the progress display."""
        run = Adapted(self._base, self._y, self._theme_of)
        run.fit(rows, lambda done, total: self._progress(what, done, total))
        return run


def save_adaptation(
    factors: Factors,
    held_out: NDArray[np.float64],
    target: Path,
    labels: Sequence[str],
    ids: Sequence[str],
    papers: Mapping[str, Any],
) -> None:
    """Write the model folder; factors as 16-bit integers, so that merging them is exact on every machine.

    held_out: float64 (n, K), the encoder's logits of each training text from a run of the whole procedure that had not
    seen it.
    """
    weights: dict[str, NDArray[Any]] = {"held_out": held_out.astype(np.float16)}
    for name, pair in factors.items():
        for side, factor in zip("ab", pair, strict=True):
            step = float(np.abs(factor).max()) / 32767 or 1.0
            weights[f"{name}:{side}"] = np.round(factor / step).astype(np.int16)
            weights[f"{name}:{side}:step"] = np.array(step)
    settings = {name.lower(): globals()[name] for name in _SETTINGS}
    meta = {"task": TASK, "labels": list(labels), "settings": settings, **papers}
    save_artefact(target, meta, weights, list(ids))


def load_held_out(
    path: Path, labels: Sequence[str], ids: Sequence[str], corpus: Mapping[str, str]
) -> NDArray[np.float64]:
    """The held-out logits of an adaptation made on exactly these labels, texts (in this order) and files.

    ``corpus``: file name → sha256. Raises ArtefactMismatch otherwise: logits of other texts would make every figure on
    top of them untrue.
    """
    artefact = load_artefact(path, TASK)
    meta = artefact.meta
    if meta["labels"] != list(labels) or artefact.vocabulary != list(ids) or meta["corpus"] != dict(corpus):
        raise ArtefactMismatch(path, "编码器适配所用的语料或细类与这次训练不同，请先执行 minsheng train encoder")
    return artefact.weights["held_out"].astype(np.float64)


def merge(folder: Path, delta: Path) -> str:
    """Add the low-rank updates of a model folder to an encoder folder's weights, in place; returns the delta's name.

    Integer products and element-wise arithmetic only: the merged bytes, and with them the encoder's id, are the same
    on every processor, which a floating-point matrix product would not promise.
    """
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415  (set-up only)

    artefact = load_artefact(delta, TASK)
    path = folder / "model.safetensors"
    weights = load_file(str(path))
    for key, b in artefact.weights.items():
        if not key.endswith(":b"):
            continue
        name = key.removesuffix(":b")
        product = b.astype(np.int64) @ artefact.weights[f"{name}:a"].astype(np.int64)
        step = float(artefact.weights[f"{key}:step"]) * float(artefact.weights[f"{name}:a:step"])
        weights[name] = (weights[name].astype(np.float64) + product * (SCALE * step)).astype(np.float32)
    save_file(weights, str(path))
    return artefact.name


class _Base:
    """What is the same in every run: the frozen lower layers' output, and the base vectors to stay near."""

    def __init__(self, folder: Path, texts: Sequence[str], progress: Progress) -> None:
        import torch  # noqa: PLC0415  (training only)
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        self.folder = folder
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True).eval()
        bert: Any = model[0].auto_model
        prefix = model.prompts.get(model.default_prompt_name or "", "") or ""
        ids = [_shortened(i) for i in model.tokenizer([prefix + t for t in texts], verbose=False)["input_ids"]]
        self.lower: list[Any] = [None] * len(ids)
        self.vectors = torch.zeros(len(ids), bert.config.hidden_size)
        done = 0
        for rows in _by_length([len(i) for i in ids], 48):
            batch = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[r]) for r in rows], batch_first=True)
            mask = _mask([len(ids[r]) for r in rows])
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                hidden = bert.embeddings(input_ids=batch)
                for depth, layer in enumerate(bert.encoder.layer):
                    if depth == LOWEST:
                        for k, r in enumerate(rows):
                            self.lower[r] = hidden[k, : len(ids[r])].bfloat16().clone()
                    hidden = layer(hidden, _attended(mask))
            self.vectors[list(rows)] = _pooled(hidden.float(), mask).clone()
            done += len(rows)
            progress("编码", done, len(ids))
        self.mean = self.vectors.mean(0)
        self.deviation = self.vectors.std(0)


class Adapted:
    """One training of low-rank updates and head, made by ``Adapter.fit``."""

    def __init__(self, base: _Base, y: IntVector, theme_of: IntVector) -> None:
        import torch  # noqa: PLC0415  (training only)
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        torch.manual_seed(SEED)
        self.base, self.y = base, torch.tensor(y)
        counts = np.bincount(y, minlength=len(theme_of))
        self.class_weights = torch.tensor(len(y) / (len(theme_of) * np.maximum(counts, 1)), dtype=torch.float32)
        self.theme_of = torch.tensor(theme_of)
        self.themes = int(theme_of.max()) + 1
        bert: Any = SentenceTransformer(str(base.folder), device="cpu", local_files_only=True)[0].auto_model
        self.layers = bert.encoder.layer[LOWEST:]
        for parameter in self.layers.parameters():
            parameter.requires_grad = False
        self.adapters: dict[str, Any] = {}
        for depth, layer in enumerate(self.layers, LOWEST):
            for name, module in list(layer.named_modules()):
                if isinstance(module, torch.nn.Linear):
                    self.adapters[f"encoder.layer.{depth}.{name}.weight"] = _attach(module)
        self.head = torch.nn.Linear(bert.config.hidden_size, len(theme_of))
        torch.nn.init.normal_(self.head.weight, std=0.02)
        torch.nn.init.zeros_(self.head.bias)

    def fit(self, rows: IntVector, progress: Callable[[int, int], None]) -> None:
        """Train on some rows: first the head on the base vectors, then head and updates together."""
        import torch  # noqa: PLC0415  (training only)

        random = np.random.default_rng(SEED)
        warm = torch.optim.AdamW(self.head.parameters(), lr=5e-3, weight_decay=0.0)
        for _ in range(60):
            for chunk in np.array_split(random.permutation(rows), max(1, len(rows) // 64)):
                self._step(warm, self._loss(self.base.vectors[chunk], chunk))
        pairs = [p for adapter in self.adapters.values() for p in adapter]
        groups = [
            {"params": pairs, "lr": LEARNING_RATE, "weight_decay": 0.01},
            {"params": self.head.parameters(), "lr": HEAD_LEARNING_RATE, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups)
        total = EPOCHS * math.ceil(len(rows) / BATCH)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min(1.0, (step + 1) / (0.1 * total)) * max(0.02, 1 - step / total)
        )
        step = 0
        for _ in range(EPOCHS):
            for batch in self._epoch(rows, random):
                vectors = self._encode(batch)
                base = self.base.vectors[batch]
                drift = ((vectors @ vectors.T - base @ base.T) ** 2).mean()
                self._step(optimiser, self._loss(vectors, batch) + DISTILLATION * drift, pairs)
                schedule.step()
                step += 1
                progress(step, total)

    def vectors(self) -> FloatArray:
        """float32 (n, d), rows L2 = 1: all texts as this training reads them, the middle of long ones left out."""
        import torch  # noqa: PLC0415  (training only)

        vectors = np.zeros(self.base.vectors.shape, dtype=np.float32)
        with torch.inference_mode():
            for rows in _by_length([len(states) for states in self.base.lower], 48):
                vectors[rows] = self._encode(rows).numpy()
        return vectors

    def factors(self) -> Factors:
        """The low-rank factors."""
        return {name: (a.detach().numpy(), b.detach().numpy()) for name, (a, b) in self.adapters.items()}

    def _encode(self, rows: Sequence[int] | IntVector) -> Any:
        import torch  # noqa: PLC0415  (training only)

        states = [self.base.lower[r] for r in rows]
        mask = _mask([len(s) for s in states])
        hidden = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        with torch.autocast("cpu", torch.bfloat16):
            for layer in self.layers:
                hidden = layer(hidden, _attended(mask))
        return _pooled(hidden.float(), mask)

    def _loss(self, vectors: Any, rows: Sequence[int] | IntVector) -> Any:
        import torch.nn.functional as F  # noqa: N812, PLC0415  (training only)

        scaled = F.dropout((vectors - self.base.mean) / self.base.deviation, DROPOUT)
        logits, y = self.head(scaled), self.y[list(rows)]
        by_theme = F.one_hot(self.theme_of, self.themes).float().clamp_min(1e-9).log()
        log_themes = (F.log_softmax(logits, -1)[:, :, None] + by_theme).logsumexp(1)
        matters = F.cross_entropy(logits, y, weight=self.class_weights)
        return matters + 0.5 * F.nll_loss(log_themes, self.theme_of[y]) + RIDGE * (self.head.weight**2).sum()

    def _step(self, optimiser: Any, loss: Any, clipped: Sequence[Any] = ()) -> None:
        import torch  # noqa: PLC0415  (training only)

        optimiser.zero_grad()
        loss.backward()
        if clipped:
            torch.nn.utils.clip_grad_norm_(clipped, 1.0)
        optimiser.step()

    def _epoch(self, rows: IntVector, random: np.random.Generator) -> Iterator[list[int]]:
        """Batches of texts of similar length, in random order."""
        shuffled = random.permutation(rows)
        batches = []
        for start in range(0, len(shuffled), 16 * BATCH):
            block = sorted(
                (int(r) for r in shuffled[start : start + 16 * BATCH]), key=lambda r: len(self.base.lower[r])
            )
            batches += [block[k : k + BATCH] for k in range(0, len(block), BATCH)]
        for k in random.permutation(len(batches)):
            yield batches[k]


def _attach(module: Any) -> tuple[Any, Any]:
    """Give a linear map a low-rank update: parameters (rank, inputs) and (outputs, rank), the second zero at first."""
    import torch  # noqa: PLC0415  (training only)

    a = torch.nn.Parameter(torch.randn(RANK, module.in_features) / math.sqrt(module.in_features))
    b = torch.nn.Parameter(torch.zeros(module.out_features, RANK))
    module.register_forward_hook(
        lambda _module, inputs, output: (
            output + SCALE * torch.nn.functional.linear(torch.nn.functional.linear(inputs[0], a), b)
        )
    )
    return a, b


def _shortened(ids: list[int]) -> list[int]:
    """At most MAX_TOKENS: the beginning and the end, where subject and demand stand."""
    head = MAX_TOKENS * 3 // 5
    return ids if len(ids) <= MAX_TOKENS else ids[:head] + ids[head - MAX_TOKENS :]


def _by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _mask(lengths: Sequence[int]) -> Any:
    import torch  # noqa: PLC0415  (training only)

    return (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).float()


def _attended(mask: Any) -> Any:
    return mask.bool()[:, None, None, :]


def _pooled(hidden: Any, mask: Any) -> Any:
    import torch.nn.functional as F  # noqa: N812, PLC0415  (training only)

    return F.normalize((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
