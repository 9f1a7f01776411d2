"""Types of the compiled module. Every function that computes releases the GIL."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Want(Enum):
    none = ...
    token = ...
    candidates = ...
    logits = ...

class Prefill(Enum):
    from_zero = ...
    chunks = ...
    any = ...

class EngineError(RuntimeError):
    """A backend call failed. `call` names it, `status` is the device's code (0: none)."""

    call: str
    status: int

class StepCancelled(EngineError): ...

class CancelFlag:
    """Ends a running `forward` from another thread."""

    def set(self) -> None: ...
    def clear(self) -> None: ...

class ModelInfo:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_seq: int
    quantisation: str

class Capabilities:
    slots: int
    decode_batches: list[int]
    prefill: Prefill
    prefill_lengths: list[int]
    chunk_lengths: list[int]
    outputs: list[Want]
    devices: int
    saved_bytes: int

class DeviceStats:
    device: int
    memory_total: int
    memory_used: int
    utilisation: float
    temperature: float

class HeadSettings:
    """What the device's penalty head is told: see engine.h. `history`: int32 [n], C-contiguous."""

    def __init__(
        self, temperature: float, top_p: float, penalty: float, history: NDArray[np.int32]
    ) -> None: ...
    temperature: float
    top_p: float
    penalty: float
    history: NDArray[np.int32]

class Span:
    """`tokens`: int32 [n], C-contiguous; kept alive by the span. `head`: for Want.candidates.
    `keep`: how many of the greatest logits matter, 0 for all: see engine.h."""

    def __init__(
        self,
        slot: int,
        pos: int,
        tokens: NDArray[np.int32],
        want: Want,
        head: HeadSettings | None = None,
        keep: int = 0,
    ) -> None: ...
    slot: int
    pos: int
    tokens: NDArray[np.int32]
    want: Want
    keep: int

class Result:
    """`logits`: float32 [vocab], owned by the result, or None; `token`: -1 unless asked for."""

    token: int
    candidate_ids: NDArray[np.int32]
    candidate_probs: NDArray[np.float32]
    logits: NDArray[np.float32] | None

class Backend:
    @property
    def info(self) -> ModelInfo: ...
    @property
    def capabilities(self) -> Capabilities: ...
    def forward(self, spans: Sequence[Span], cancel: CancelFlag) -> list[Result]: ...
    def length(self, slot: int) -> int: ...
    def truncate(self, slot: int, n: int) -> None: ...
    def copy_prefix(self, src: int, dst: int, n: int) -> None: ...
    def release(self, slot: int) -> None: ...
    def save(self, slot: int) -> NDArray[np.uint8]:
        """What the slot holds, `saved_bytes` for each position: see engine.h."""
    def restore(self, slot: int, saved: NDArray[np.uint8]) -> None:
        """The slot holds what was saved. Raises ValueError for bytes of another length."""
    def stats(self) -> list[DeviceStats]: ...

# -- cpu backend -----------------------------------------------------------------------------

class CpuShape:
    """The numbers of a ChatGLM3 config that decide shapes and the mathematics. Raises ValueError
    for numbers that describe no ChatGLM3."""

    def __init__(
        self,
        *,
        layers: int,
        hidden: int,
        ffn: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        vocab: int,
        norm_eps: float,
        rope_base: float,
    ) -> None: ...

def pack(matrix: NDArray[Any], kind: str, threads: int = 0) -> NDArray[np.uint8]:
    """Turn a row-major matrix [rows, cols] (float16, float32, or uint16 holding bfloat16 bits) into
    the byte layout that the kernels read.

    `kind`: "f16", "int8" (per output row), "int4g32", "int4g64", "rows_f16" (row-major, for the
    embedding). The layouts are documented in cpu/packing.h. `threads`: 0 means all cores. Needs
    eight rows of float32 per thread besides the result. Raises ValueError for an unknown kind, an
    empty or strided matrix, and, naming row and column, a value that is not finite or that F16
    cannot hold; TypeError for another dtype.
    """

def unpack(packed: NDArray[np.uint8], kind: str, rows: int, cols: int) -> NDArray[np.float32]:
    """The float32 [rows, cols] matrix that `packed` stands for: what a quantised build is compared
    against. Raises ValueError when `packed` has not the size of such a matrix."""

class CpuWeights:
    """The tensors of one model by their checkpoint names. Matrices are referenced, not copied, so a
    memory-mapped packed file stays mapped; they must start at multiples of 4 bytes. The embedding
    is "rows_f16", every other matrix one of the other kinds; `mode` ("f16", "int8", "int4") is what
    ModelInfo.quantisation will say. Raises ValueError for a name that a model of this shape has
    not, a wrong size or kind.
    """

    def __init__(self, shape: CpuShape, mode: str) -> None: ...
    def set_matrix(self, name: str, packed: NDArray[np.uint8], kind: str) -> None: ...
    def set_vector(self, name: str, values: NDArray[np.float32]) -> None: ...
    @property
    def nbytes(self) -> int: ...

class CpuBackend(Backend):
    """Any number of slots and tokens in a step, at any position. Logits are bit-identical however
    tokens are batched and split and on however many threads (0: all cores that the process may
    use). A slot costs memory for the positions it holds, from its first token to `release`. Raises
    EngineError naming every tensor that is missing.
    """

    def __init__(
        self, weights: CpuWeights, *, slots: int, max_seq: int, threads: int = 0
    ) -> None: ...

# -- bm1684x backend -------------------------------------------------------------------------

class Traffic:
    """What has been asked of the chips since the model was loaded: see bm1684x/runtime.h."""

    launches: int
    uploads: int
    uploaded: int
    downloads: int
    downloaded: int
    copies: int
    copied: int
    cleared: int
    relocated: int
    undecided: int

class Bm1684xBackend(Backend):
    """A bmodel on chips. A step is one span, or any spans where the nets compute rows of any
    conversations. `slots`, `context`: 0 for as many as there is room for and as the bmodel has.
    `vocab`: ids of the tokenizer, needed where the bmodel gives ids only. `quantisation`: what
    ModelInfo will say. `device_bytes`: that the file takes on each chip, 0 for unknown.
    `libsophon`: folder of the libraries, "" to look for them; with `simulate` it has the simulator
    too. `trace`: keep what is launched until it is taken. Closes the chips when it is
    garbage-collected. Raises EngineError with the call that failed; status 5 where a chip has no
    room.
    """

    def __init__(
        self,
        path: str,
        *,
        devices: Sequence[int],
        slots: int = 0,
        context: int = 0,
        vocab: int = 0,
        quantisation: str = "",
        device_bytes: int = 0,
        libsophon: str = "",
        simulate: bool = False,
        trace: bool = False,
    ) -> None: ...
    @property
    def traffic(self) -> Traffic: ...
    def take_trace(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """With `trace`: what was launched since the last call. Each step as ("decode 4", launches),
        each launch as (net, rows of its stage)."""

def sophon_stats(device: int, libsophon: str = "") -> DeviceStats:
    """What the driver says of a chip. It is opened and closed: not for one in use. Raises
    EngineError."""

def cpu_features() -> list[str]:
    """The instruction sets in use, e.g. ["avx2", "fma", "f16c"]; [] on the portable path.
    GLMD_CPU=portable in the environment forces the portable path (read once, at import)."""

# -- native sampler ---------------------------------------------------------------------------

class SamplerChain:
    """Built-in stages applied in order to float32 [vocab] logits, in place: a token that a stage
    takes out of play is left at -inf. docs/sampling.md says what the stages do.

    `stages`: (name, parameters) pairs; a parameter left out has its default. Stage `i` draws its
    own random numbers from the counter-based generator keyed by (seed, choice, token index,
    first_stage + i). A chain has no state: it may be applied to any row, in any order, from any
    thread. Raises ValueError for an unknown stage or parameter, a value of another type or out of
    range, or an id outside the vocabulary, in one sentence that names it.
    """

    def __init__(
        self,
        vocab: int,
        stages: Sequence[tuple[str, dict[str, Any]]],
        *,
        seed: int,
        choice: int,
        first_stage: int = 0,
    ) -> None: ...
    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32], index: int) -> None:
        """`history`: int32 ids so far, prompt first. `index`: of the token in its answer, from 0.
        Both arrays C-contiguous and never converted. Raises ValueError when a logit is NaN or +inf,
        when all are -inf, or for an id in the history that is outside the vocabulary."""

def draw(logits: NDArray[np.float32], *, seed: int, choice: int, index: int) -> int:
    """Sample from softmax(logits) with the number keyed by (seed, choice, index, 2**32 - 1).
    Raises ValueError when a logit is NaN or +inf, or when none is finite."""

def top_logprobs(
    logits: NDArray[np.float32], token: int, k: int
) -> tuple[float, list[tuple[int, float]]]:
    """Log-softmax of `token` and of the `k` most likely ids (ties: lower id first; those at -inf
    are left out). Raises ValueError as `draw` does."""

def stage_parameters() -> dict[str, dict[str, tuple[str, Any]]]:
    """Every built-in stage: name -> parameter -> (type name, default), in the default order."""
