"""Binary tensors: what is written is read, and no bytes whatever do worse than be refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.wire.tensors import DTYPES, TensorError, read_tensor, split_body, take_binary, write_tensor

TEXTS = st.lists(st.text(max_size=8).filter(lambda text: text.isprintable()), max_size=20)


@given(st.sampled_from(sorted(DTYPES)), st.integers(0, 40), st.randoms())
def test_numbers_are_read_as_they_were_written(datatype, n, random):
    dtype = DTYPES[datatype]
    raw = random.randbytes(n * dtype.itemsize)
    values = np.frombuffer(raw, dtype) if datatype != "BOOL" else np.frombuffer(raw, np.uint8) > 127
    read = read_tensor("x", datatype, [n], memoryview(write_tensor(values, datatype)))
    assert read.tobytes() == values.tobytes()


@given(TEXTS)
def test_texts_are_read_as_they_were_written(texts):
    assert read_tensor("x", "BYTES", [len(texts)], memoryview(write_tensor(texts, "BYTES"))) == texts


@given(st.sampled_from([*DTYPES, "BYTES", "FP8"]), st.lists(st.integers(-1, 5), max_size=3), st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(datatype, shape, raw):
    """Never another error, and never another number of elements than the shape says."""
    try:
        read = read_tensor("x", datatype, shape, memoryview(raw))
    except TensorError:
        return
    assert len(read) == np.prod([max(length, 0) for length in shape], dtype=int)


@given(st.lists(st.tuples(st.sampled_from(sorted(DTYPES)), st.integers(0, 9)), max_size=5), st.integers(-3, 3))
def test_tensors_that_do_not_fill_the_body_are_refused(tensors, odd):
    named = [(f"x{i}", datatype, [n], n * DTYPES[datatype].itemsize) for i, (datatype, n) in enumerate(tensors)]
    size = sum(size for *_, size in named)
    body = memoryview(bytes(max(0, size + odd)))
    if len(body) == size:
        assert list(take_binary(named, body)) == [name for name, *_ in named]
    else:
        with pytest.raises(TensorError):
            take_binary(named, body)


@pytest.mark.parametrize("length", [b"-1", b"x", b"", b"6", b"1e1"])
def test_a_length_that_is_none_is_refused(length):
    with pytest.raises(TensorError, match="at most 5, the length of the body"):
        split_body(b"hello", length)
