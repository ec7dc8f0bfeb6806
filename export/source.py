"""A checkpoint seen through its architecture: the parts, norms and biases that a plan asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from stepguard.errors import ModelFormatError

from .architecture import Attention, Linear, Norm, Projection, Vector
from .checkpoint import Checkpoint
from .formats import Format, Journal, format_of, widest
from .matrix import Delta, Matrix, Part, take_half, unpermute
from .rope import inverse_frequencies
from .shape import Shape
from .tensors import Floats

_IGNORED = ("rotary_emb.inv_freq", "attention.masked_bias", "attention.bias")
_ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class Source:
    """`deltas` are what an adapter adds, by the Hugging Face name of the matrix."""

    checkpoint: Checkpoint
    shape: Shape
    quant: str
    deltas: Mapping[str, Delta] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)

    @property
    def _gguf(self) -> bool:
        return self.checkpoint.form == "gguf"

    def embedding(self) -> Part:
        """The table of token embeddings [vocabulary, hidden]."""
        return self._table("model.embed_tokens", "token_embd")

    def head(self) -> Part:
        """The output matrix [vocabulary, hidden] of an untied model."""
        return self._table("lm_head", "output")

    def final_norm(self) -> Floats:
        """The weight of the last norm [hidden]."""
        name = "output_norm.weight" if self._gguf else "model.norm.weight"
        return self.checkpoint.store.whole(name)

    def norm(self, layer: int, hf: str, gguf: str) -> Floats:
        """The weight of a norm of one layer."""
        return self.checkpoint.store.whole(self._name(layer, hf, gguf, "weight"))

    def inverse_frequencies(self) -> Floats:
        """float32 [rotary_dim / 2]."""
        shape, store = self.shape, self.checkpoint.store
        factors = store.whole(_ROPE_FACTORS) if _ROPE_FACTORS in store.tensors else None
        return inverse_frequencies(shape.rope_theta, shape.rotary_dim, shape.rope_scaling, factors)

    def matrix(self, layer: int, linear: Linear) -> Matrix:
        """The fused matrix of one operation; each part in the widest format of all."""
        wished = [self._wish(layer, part) for part in linear.parts]
        if linear.exact:
            wished = [("float32", False)] * len(wished)
        form = widest([form for form, _ in wished])
        parts = [
            self._part(layer, projection, kept, form)
            for projection, (_, kept) in zip(linear.parts, wished, strict=True)
        ]
        return Matrix(tuple(parts), form, paired=linear.epilogue == "swiglu")

    def vector(self, layer: int, vector: Vector) -> Floats:
        """A small tensor of a layer, without its dimensions of 1."""
        values = self.checkpoint.store.whole(f"model.layers.{layer}.{vector.hf}")
        return values.reshape([self.shape.dimension(d) for d in vector.dimensions if d != 1])

    def bias(self, layer: int, linear: Linear) -> Floats | None:
        """float32 [n] of the stacked parts, or None where there is no bias."""
        if not any(self._has_bias(part) for part in linear.parts):
            return None
        pieces = [self._one_bias(layer, part) for part in linear.parts]
        return np.concatenate(pieces)

    def check_tensors(self) -> None:
        """Raises ModelFormatError for missing, misshapen or unknown tensors, all at once."""
        expected = dict(self._expected())
        tensors = self.checkpoint.store.tensors
        missing = sorted(expected.keys() - tensors.keys())
        wrong = [
            f"{name} {list(tensors[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ]
        unknown = sorted(
            name for name in tensors.keys() - expected.keys() if not self._ignorable(name)
        )
        for what, names in (("missing", missing), ("misshapen", wrong), ("unknown", unknown)):
            if names:
                more = f" and {len(names) - 12} more" if len(names) > 12 else ""
                raise ModelFormatError(
                    f"{self.checkpoint.path.name}: {what} tensors",
                    expected=f"the tensors of a {self.shape.architecture.name} model",
                    got=", ".join(names[:12]) + more,
                    fix="Is this another architecture, or an incomplete checkpoint?",
                )

    def matrix_shapes(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of every matrix that an adapter may change, by its Hugging Face name."""
        shape = self.shape
        shapes = {} if shape.tied else {"lm_head": (shape.vocabulary, shape.hidden)}
        for layer in range(shape.layers):
            for operation in shape.operations(layer):
                for part in operation.parts if isinstance(operation, Linear) else ():
                    size = self._stored_rows(part), shape.dimension(part.columns)
                    shapes[f"model.layers.{layer}.{part.hf}"] = size
        return shapes

    def _stored_rows(self, projection: Projection) -> int:
        return self.shape.dimension(projection.rows) * (2 if projection.half else 1)

    def _ignorable(self, name: str) -> bool:
        tied_head = self.shape.tied and name == "lm_head.weight"
        return tied_head or name == _ROPE_FACTORS or name.endswith(_IGNORED)

    def _expected(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        shape = self.shape
        table = (shape.vocabulary, shape.hidden)
        yield self._pick("model.embed_tokens.weight", "token_embd.weight"), table
        yield self._pick("model.norm.weight", "output_norm.weight"), (shape.hidden,)
        if not shape.tied:
            yield self._pick("lm_head.weight", "output.weight"), table
        for layer in range(shape.layers):
            yield from self._expected_of(layer)

    def _expected_of(self, layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        shape = self.shape
        for operation in shape.operations(layer):
            if isinstance(operation, Norm):
                names = operation.hf, operation.gguf
                yield self._name(layer, *names, "weight"), (shape.hidden,)
            elif isinstance(operation, Linear):
                for part in operation.parts:
                    rows = self._stored_rows(part)
                    size = rows, shape.dimension(part.columns)
                    yield self._name(layer, part.hf, part.gguf, "weight"), size
                    if self._has_bias(part):
                        yield self._name(layer, part.hf, part.gguf, "bias"), (rows,)
            elif isinstance(operation, Attention):
                for names in (operation.q_norm, operation.k_norm):
                    if shape.architecture.qk_norm:
                        yield self._name(layer, *names, "weight"), (shape.head_dim,)
            else:
                for vector in operation.vectors:
                    stored = tuple(shape.dimension(d) for d in vector.dimensions)
                    yield f"model.layers.{layer}.{vector.hf}", stored

    def _pick(self, hf: str, gguf: str) -> str:
        return gguf if self._gguf else hf

    def _name(self, layer: int, hf: str, gguf: str, suffix: str) -> str:
        return self._pick(f"model.layers.{layer}.{hf}.{suffix}", f"blk.{layer}.{gguf}.{suffix}")

    def _has_bias(self, projection: Projection) -> bool:
        return bool(projection.bias and getattr(self.shape, projection.bias))

    def _permuted_head(self, projection: Projection) -> int:
        permuted = self._gguf and self.shape.architecture.gguf_permuted and projection.rotary
        return self.shape.head_dim if permuted else 0

    def _delta(self, layer: int, projection: Projection) -> Delta | None:
        return self.deltas.get(f"model.layers.{layer}.{projection.hf}")

    def _wish(self, layer: int, projection: Projection) -> tuple[Format, bool]:
        name = self._name(layer, projection.hf, projection.gguf, "weight")
        kind = self.checkpoint.store.tensors[name].kind
        merged = self._delta(layer, projection) is not None
        return format_of(kind, self.quant, self.checkpoint.form, merged)

    def _part(self, layer: int, projection: Projection, kept: bool, form: Format) -> Part:
        name = self._name(layer, projection.hf, projection.gguf, "weight")
        delta = self._delta(layer, projection)
        kind = self.checkpoint.store.tensors[name].kind
        if not kept:
            self.journal.note(kind, form, delta is not None)
        head = self._permuted_head(projection)
        paired = self.shape.head_dim if projection.half else 0
        place = int(projection.half == "second")
        return Part(self.checkpoint.store, name, kept, head, delta, paired, place)

    def _one_bias(self, layer: int, projection: Projection) -> Floats:
        if not self._has_bias(projection):
            return np.zeros(self.shape.dimension(projection.rows), np.float32)
        name = self._name(layer, projection.hf, projection.gguf, "bias")
        values, head = self.checkpoint.store.whole(name), self._permuted_head(projection)
        if projection.half:
            return take_half(values, self.shape.head_dim, int(projection.half == "second"))
        return unpermute(values, head) if head else values

    def _table(self, hf: str, gguf: str) -> Part:
        name = self._pick(f"{hf}.weight", f"{gguf}.weight")
        kind, delta = self.checkpoint.store.tensors[name].kind, self.deltas.get(hf)
        kept = kind in ("Q8_0", "Q4_0") and delta is None
        if not kept:
            form = "float32" if self.quant == "float32" else "int8"
            self.journal.note(kind, form, delta is not None)
        return Part(self.checkpoint.store, name, kept, 0, delta)
