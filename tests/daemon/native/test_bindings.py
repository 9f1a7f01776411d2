"""The Python face of the CPU backend: types, errors, ownership, the GIL."""

from __future__ import annotations

import enum
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import glm_models
from support.glm_models import MODELS

from glmd.daemon.native import _engine as native

EVEN = MODELS["even"]
KINDS = ("f16", "int8", "int4g32", "int4g64", "rows_f16")


def ids(*values: int) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def forward(engine: native.Backend, *spans: native.Span) -> list[native.Result]:
    return engine.forward(spans, native.CancelFlag())


def test_facts() -> None:
    engine = glm_models.backend(EVEN, "int4g32", slots=3, max_seq=50)
    info, capabilities = engine.info, engine.capabilities
    assert (info.layers, info.hidden, info.heads, info.kv_heads) == (2, 64, 4, 2)
    assert (info.head_dim, info.vocab, info.max_seq, info.quantisation) == (16, 160, 50, "int4")
    assert (capabilities.slots, capabilities.devices) == (3, 0)
    assert (capabilities.decode_batches, capabilities.prefill_lengths) == ([], [])
    assert capabilities.chunk_lengths == []
    assert capabilities.prefill is native.Prefill.any
    assert capabilities.outputs == [native.Want.none, native.Want.token, native.Want.logits]
    assert engine.stats() == []
    assert issubclass(native.Want, enum.Enum)
    assert issubclass(native.Prefill, enum.Enum)


def test_results_hold_what_was_wanted() -> None:
    engine = glm_models.backend(EVEN)
    nothing, token, logits = forward(
        engine,
        native.Span(0, 0, ids(1, 2), native.Want.none),
        native.Span(0, 2, ids(3), native.Want.token),
        native.Span(1, 0, ids(1, 2, 3), native.Want.logits),
    )
    assert nothing.token == -1
    assert nothing.logits is None
    assert token.logits is None
    assert logits.logits is not None
    assert logits.logits.dtype == np.float32
    assert logits.logits.shape == (160,)
    assert token.token == int(logits.logits.argmax())
    assert token.candidate_ids.dtype == np.int32
    assert token.candidate_probs.dtype == np.float32
    assert token.candidate_ids.size == token.candidate_probs.size == 0


def test_logits_stay_when_the_result_and_the_backend_are_gone() -> None:
    engine = glm_models.backend(EVEN)
    (result,) = forward(engine, native.Span(0, 0, ids(5), native.Want.logits))
    logits = result.logits
    assert logits is not None
    before = logits.copy()
    forward(engine, native.Span(0, 1, ids(6), native.Want.logits))
    del result, engine
    gc.collect()
    assert np.array_equal(logits, before)


def test_a_span_keeps_its_tokens() -> None:
    tokens = ids(4, 5, 6)
    span = native.Span(1, 2, tokens, native.Want.none)
    assert (span.slot, span.pos, span.want) == (1, 2, native.Want.none)
    del tokens
    gc.collect()
    assert span.tokens.tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    "tokens",
    [
        np.array([1, 2], dtype=np.int64),
        np.array([1.0], dtype=np.float32),
        np.arange(8, dtype=np.int32)[::2],
        [1, 2],
    ],
)
def test_tokens_of_another_type_are_refused(tokens: Any) -> None:
    with pytest.raises(TypeError):
        native.Span(0, 0, tokens, native.Want.none)


def test_engine_errors_carry_call_and_status() -> None:
    engine = glm_models.backend(EVEN, max_seq=10)
    with pytest.raises(native.EngineError, match="token id 160") as caught:
        forward(engine, native.Span(0, 0, ids(160), native.Want.none))
    assert (caught.value.call, caught.value.status) == ("forward", 0)
    assert isinstance(caught.value, RuntimeError)
    assert not isinstance(caught.value, native.StepCancelled)
    with pytest.raises(native.EngineError, match="which holds 10"):
        forward(engine, native.Span(0, 0, np.zeros(11, dtype=np.int32), native.Want.none))
    with pytest.raises(native.EngineError) as caught:
        engine.truncate(0, 1)
    assert caught.value.call == "truncate"


def test_a_cancelled_step_raises_and_changes_nothing() -> None:
    engine = glm_models.backend(EVEN)
    cancel = native.CancelFlag()
    cancel.set()
    span = native.Span(0, 0, ids(1, 2, 3), native.Want.none)
    with pytest.raises(native.StepCancelled, match="cancelled") as caught:
        engine.forward([span], cancel)
    assert caught.value.call == "forward"
    assert engine.length(0) == 0
    cancel.clear()
    engine.forward([span], cancel)
    assert engine.length(0) == 3


def test_another_thread_cancels_a_running_step() -> None:
    """`forward` releases the GIL: the interpreter would not take it from the thread for 100 s, so
    otherwise the flag could only be set when all is done."""
    model = glm_models.Model(24, 256, 1024, 8, 2, 32, 64)
    engine = glm_models.backend(model, slots=1, max_seq=4096, threads=1)
    prompt = glm_models.tokens(4096, model.vocab)
    cancel = native.CancelFlag()
    started = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        started.set()
        try:
            engine.forward([native.Span(0, 0, prompt, native.Want.token)], cancel)
        except native.StepCancelled as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        started.wait()
        cancel.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(failed) == 1
    assert engine.length(0) == 0


def test_slots() -> None:
    engine = glm_models.backend(EVEN, slots=3)
    prompt = glm_models.tokens(20, EVEN.vocab)
    alone = glm_models.logits(engine, prompt)
    engine.copy_prefix(0, 2, 11)
    assert (engine.length(0), engine.length(1), engine.length(2)) == (20, 0, 11)
    assert np.array_equal(glm_models.logits(engine, prompt[11:], slot=2, pos=11), alone[11:])
    engine.truncate(0, 5)
    assert engine.length(0) == 5
    assert np.array_equal(glm_models.logits(engine, prompt[5:], pos=5), alone[5:])
    engine.release(0)
    assert engine.length(0) == 0


def test_missing_tensors_are_named() -> None:
    with pytest.raises(native.EngineError, match=r"layers\.1\.mlp\.dense_4h_to_h") as caught:
        native.CpuBackend(native.CpuWeights(EVEN.shape(), "f16"), slots=1, max_seq=8)
    assert caught.value.call == "load"


def test_weights_refuse_what_does_not_belong() -> None:
    weights = native.CpuWeights(EVEN.shape(), "f16")
    with pytest.raises(ValueError, match="no tensor named"):
        weights.set_vector("lm_head", np.zeros(64, dtype=np.float32))
    with pytest.raises(ValueError, match="expected 64 values, got 63"):
        weights.set_vector(glm_models.FINAL_NORM, np.zeros(63, dtype=np.float32))
    with pytest.raises(ValueError, match="expected 20480 bytes for 160 × 64, got 20"):
        weights.set_matrix(glm_models.HEAD, np.zeros(20, dtype=np.uint8), "f16")
    with pytest.raises(TypeError):
        weights.set_vector(glm_models.FINAL_NORM, np.zeros(64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode"):
        native.CpuWeights(EVEN.shape(), "int3")


def test_a_shape_that_is_no_chatglm3_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of kv_heads"):
        glm_models.Model(2, 64, 96, 4, 3, 16, 160).shape()


def test_weights_reference_their_buffers_and_let_go_of_them() -> None:
    made = glm_models.tensors(EVEN)
    packed, _ = glm_models.pack(made, "int8")
    weights = glm_models.weights(EVEN, made, packed, "int8")
    head = packed[glm_models.HEAD][0]
    total = sum(array.nbytes for array, _ in packed.values())
    assert total < weights.nbytes < total + 4 * 64 * 64
    alive = weakref.ref(head)
    engine = native.CpuBackend(weights, slots=1, max_seq=8)
    del head, packed, weights
    gc.collect()
    assert alive() is not None
    forward(engine, native.Span(0, 0, ids(1), native.Want.token))
    del engine
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_pack_and_unpack(kind: str, dtype: str) -> None:
    values = glm_models.uniform(1, "pack", (27, 100)).astype(np.float16)
    matrix: NDArray[Any] = values if dtype == "float16" else values.astype(np.float32)
    if dtype == "bfloat16":
        matrix = (matrix.view(np.uint32) >> 16).astype(np.uint16)
        values = (matrix.astype(np.uint32) << 16).view(np.float32).astype(np.float16)
    back = native.unpack(native.pack(matrix, kind), kind, 27, 100)
    bound = {"int8": 1 / 253, "int4g32": 1 / 7.9, "int4g64": 1 / 7.9}.get(kind, 0.0)
    assert back.dtype == np.float32
    assert np.abs(back - values.astype(np.float32)).max() <= bound


def test_pack_takes_a_slice_of_rows_and_no_strided_columns() -> None:
    matrix = glm_models.uniform(2, "slices", (40, 64))
    part = native.pack(matrix[5:30, :32], "int8")
    assert np.array_equal(part, native.pack(matrix[5:30, :32].copy(), "int8"))
    with pytest.raises(ValueError, match="contiguous"):
        native.pack(matrix[:, ::2], "int8")


def test_pack_refuses_what_it_cannot_hold() -> None:
    matrix = np.ones((9, 40), dtype=np.float32)
    with pytest.raises(ValueError, match="unknown kind"):
        native.pack(matrix, "int5")
    with pytest.raises(TypeError, match="float64"):
        native.pack(matrix.astype(np.float64), "f16")
    with pytest.raises(ValueError, match=r"\[rows, cols\]"):
        native.pack(matrix[0], "f16")
    with pytest.raises(ValueError, match="nothing to pack"):
        native.pack(matrix[:0], "f16")
    matrix[8, 3] = 1e5
    with pytest.raises(ValueError, match="row 8, column 3"):
        native.pack(matrix, "f16")
    with pytest.raises(ValueError, match="bytes"):
        native.unpack(np.zeros(10, dtype=np.uint8), "f16", 8, 8)


def test_threads_that_cannot_be_started_are_an_error() -> None:
    """In a process of its own, whose address space has no room for that many stacks."""
    script = """
import resource
import numpy as np
from glmd.daemon.native import _engine as native

resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
matrix = np.zeros((8, 32), np.float32)
try:
    native.pack(matrix, "f16", 2000)
except native.EngineError as error:
    print(error)
native.pack(matrix, "f16", 2)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "of 2000 threads could be started" in done.stdout


def test_features_are_known_names() -> None:
    assert native.cpu_features() in (["avx2", "fma", "f16c"], [])


@pytest.mark.timeout(300)
def test_the_portable_path_passes_the_same_tests() -> None:
    """GLMD_CPU=portable is read at import, so the suites run again in a process of their own."""
    here = Path(__file__).parent
    check = "from glmd.daemon.native import _engine as e; assert e.cpu_features() == []"
    suites = ["test_golden.py", "test_quantised.py"]
    environment = {**os.environ, "GLMD_CPU": "portable"}
    for command in (
        ["-c", check],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(here / suite) for suite in suites)],
    ):
        done = subprocess.run(
            [sys.executable, "-I", *command],
            env=environment,
            cwd=here.parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
