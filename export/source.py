"""A checkpoint seen through its architecture: the parts, norms and biases that a plan asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from stepguard.errors import ModelFormatError

from .architecture import Attention, Linear, Norm, Projection, Vector
from .checkpoint import Checkpoint
from .formats import Format, Journal, format_of, widest
from .matrix import Delta, Matrix, Part, take_half, unpermute
from .quantise import BLOCK
from .rope import inverse_frequencies
from .shape import Shape
from .tensors import Floats
from .value_heads import ValueHeads

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
        return self._norm(self._pick("model.norm.weight", "output_norm.weight"))

    def norm(self, layer: int, hf: str, gguf: str) -> Floats:
        """The weight of a norm of one layer."""
        return self._norm(self._name(layer, hf, gguf, "weight"))

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
        for projection, (_, kept) in zip(linear.parts, wished, strict=True):
            if not kept and not linear.exact:
                self._note(layer, projection, form)
        parts = [
            self._part(layer, projection, kept)
            for projection, (_, kept) in zip(linear.parts, wished, strict=True)
        ]
        return Matrix(tuple(parts), form, paired=linear.epilogue == "swiglu")

    def vector(self, layer: int, vector: Vector) -> Floats:
        """A small tensor of a layer as a checkpoint has it, without its dimensions of 1."""
        name = self._vector_name(layer, vector)
        values = self.checkpoint.store.whole(name)
        values = values.reshape([self.shape.dimension(d) for d in vector.dimensions if d != 1])
        if self._gguf and vector.minus_exp:
            values = _log_of_minus(values, name)
        dealt = self._dealt(vector.dimensions[0]) if vector.value_heads else None
        return values if dealt is None else values[dealt.stored(0, len(values))]

    def bias(self, layer: int, linear: Linear) -> Floats | None:
        """float32 [n] of the stacked parts, or None where there is no bias."""
        if not any(self._has_bias(part) for part in linear.parts):
            return None
        pieces = [self._one_bias(layer, part) for part in linear.parts]
        return np.concatenate(pieces)

    def check_tensors(self) -> None:
        """Raises ModelFormatError for missing, misshapen or unknown tensors, all at once."""
        expected = dict(self.expected_tensors())
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

    def expected_tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(name, shape) of every tensor that a checkpoint of this shape must hold."""
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
                    # llama.cpp's converter squeezes the dimensions of 1 away.
                    stored = [d for d in vector.dimensions if d != 1 or not self._gguf]
                    yield (
                        self._vector_name(layer, vector),
                        tuple(shape.dimension(d) for d in stored),
                    )

    def _pick(self, hf: str, gguf: str) -> str:
        return gguf if self._gguf else hf

    def _name(self, layer: int, hf: str, gguf: str, suffix: str) -> str:
        return self._pick(f"model.layers.{layer}.{hf}.{suffix}", f"blk.{layer}.{gguf}.{suffix}")

    def _vector_name(self, layer: int, vector: Vector) -> str:
        return self._pick(f"model.layers.{layer}.{vector.hf}", f"blk.{layer}.{vector.gguf}")

    def _norm(self, name: str) -> Floats:
        """The weight of a norm; in a GGUF file the architecture's offset was added to it."""
        weight = self.checkpoint.store.whole(name)
        offset = np.float32(self.shape.architecture.norm_offset)
        return weight - offset if self._gguf else weight

    def _dealt(self, dimension: str | int) -> ValueHeads | None:
        """Where the value heads lie in a dimension that ends with them, in a GGUF file."""
        delta = self.shape.delta
        if not self._gguf or delta is None:
            return None
        size = 1 if dimension == "v_heads" else delta.v_dim
        start = self.shape.dimension(dimension) - delta.v_heads * size
        return ValueHeads(delta.k_heads, delta.v_heads, size, start)

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
        form, kept = format_of(kind, self.quant, self.checkpoint.form, merged)
        return form, kept and self._whole_blocks(projection)

    def _whole_blocks(self, projection: Projection) -> bool:
        """Whether stored blocks can stay as they are; says what becomes of columns that move."""
        dealt = self._dealt(projection.columns) if projection.value_heads == "columns" else None
        if dealt is None or dealt.k_heads in (1, dealt.v_heads):
            return True
        what = f"{dealt.v_heads} value heads of {dealt.size} over {dealt.k_heads} key heads"
        if dealt.size % BLOCK:
            text = f"{what}: blocks of {BLOCK} cross their borders, so out_proj is requantised"
            self.journal.say(logging.WARNING, text)
            return False
        text = f"{what} are put in the checkpoint's order, whole blocks of out_proj at a time"
        self.journal.say(logging.INFO, text)
        return True

    def _note(self, layer: int, projection: Projection, form: Format) -> None:
        name = self._name(layer, projection.hf, projection.gguf, "weight")
        merged = self._delta(layer, projection) is not None
        self.journal.note(self.checkpoint.store.tensors[name].kind, form, merged)

    def _part(self, layer: int, projection: Projection, kept: bool) -> Part:
        name = self._name(layer, projection.hf, projection.gguf, "weight")
        delta = self._delta(layer, projection)
        head = self._permuted_head(projection)
        paired = self.shape.head_dim if projection.half else 0
        place = int(projection.half == "second")
        rows, columns = (
            self._dealt(size) if projection.value_heads == which else None
            for which, size in (("rows", projection.rows), ("columns", projection.columns))
        )
        return Part(self.checkpoint.store, name, kept, head, delta, paired, place, rows, columns)

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


def _log_of_minus(values: Floats, name: str) -> Floats:
    if (values >= 0).any():
        raise ModelFormatError(
            f"tensor {name}",
            expected="negative numbers, minus the exponential of A_log",
            got=f"{values.max():g}",
            fix="Convert the checkpoint again with llama.cpp's converter",
        )
    return np.log(-values.astype(np.float64)).astype(np.float32)
