"""W3C trace headers: what is sound is passed on as it came, what is not counts as absent, and nothing raises."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.tracing import TraceContext, batch_headers, read_trace

SAMPLE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def ids(digits):
    return st.binary(min_size=digits // 2, max_size=digits // 2).filter(any).map(lambda raw: raw.hex().encode())


STATES = [b"a=1", b"rojo=00f067aa0ba902b7", b"congo=t61rcWkgMzE", b"4ab@vendor-x=x y!", b"z/_-*=~"]
members = st.lists(st.sampled_from(STATES), unique=True)
traces = st.builds(TraceContext, ids(32), ids(16), st.integers(0, 3), members.map(b",".join))


@given(ids(32), ids(16), st.integers(0, 255), members)
def test_a_sound_header_is_read_and_written_again_with_unknown_flags_cleared(trace_id, parent_id, flags, state):
    header = b"00-%b-%b-%02x" % (trace_id, parent_id, flags)
    trace = read_trace([header], [b" , ".join(state)])
    assert trace == TraceContext(trace_id, parent_id, flags & 3, b",".join(state))
    assert trace.traceparent == header[:-2] + b"%02x" % (flags & 3)
    assert trace.sampled == bool(flags & 1)


@given(st.binary(max_size=80), st.lists(st.binary(max_size=80), max_size=3))
def test_whatever_comes_is_a_sound_context_or_none(header, states):
    for trace in (read_trace([header], states), read_trace([SAMPLE], states)):
        assert trace is None or read_trace([trace.traceparent], [trace.state]) == trace
        assert trace is None or (b"\r" not in trace.state and b"\n" not in trace.state)


@given(st.integers(0, len(SAMPLE) - 1), st.sampled_from("gGA- _zZ\n\x00"))
def test_a_character_that_does_not_belong_there_voids_the_header(place, odd):
    altered = SAMPLE[:place] + odd.encode() + SAMPLE[place + 1 :]
    assert altered == SAMPLE or read_trace([altered]) is None


def test_versions_zero_ids_and_doubled_headers_are_taken_as_the_specification_says():
    later = b"cc" + SAMPLE[2:]
    assert read_trace([later]).traceparent == SAMPLE
    assert read_trace([later + b"-what-is-to-come"]).traceparent == SAMPLE
    for bad in (
        b"ff" + SAMPLE[2:],
        SAMPLE + b"-more",
        later + b".more",
        b"00-" + b"0" * 32 + SAMPLE[35:],
        SAMPLE[:36] + b"0" * 16 + b"-01",
        SAMPLE.upper(),
        b"",
    ):
        assert read_trace([bad]) is None, bad
    assert read_trace([]) is None
    assert read_trace([SAMPLE, SAMPLE]) is None


def test_a_malformed_state_is_dropped_and_the_trace_kept():
    for bad in ([b"a=1", b"a=2"], [b"a"], [b"A=1"], [b"a=1=2"], [b"a=\xff"], [b"a=" + b"x" * 257], [b"a=1,"] * 33):
        assert read_trace([SAMPLE], bad).state == b"", bad
    assert read_trace([SAMPLE], [b"a=1,,", b" b=2\t"]).state == b"a=1,b=2"
    assert read_trace([SAMPLE], [b",".join(b"k%d=v" % i for i in range(33))]).state == b""
    long = b",".join(b"k%d=%b" % (i, b"x" * 256) for i in range(32))
    assert read_trace([SAMPLE], [long]).state == b"", "a state of more than 8 KiB is not passed on"


@given(st.lists(st.none() | traces, max_size=6))
def test_a_batch_names_its_first_sampled_trace_or_else_its_first(batch):
    known = [trace for trace in batch if trace is not None]
    chosen = next((trace for trace in known if trace.sampled), known[0] if known else None)
    lines = dict(line.split(b": ", 1) for line in batch_headers(batch).split(b"\r\n") if line)
    if chosen is None:
        assert lines == {}
    else:
        assert read_trace([lines[b"traceparent"]], [lines.get(b"tracestate", b"")]) == chosen
