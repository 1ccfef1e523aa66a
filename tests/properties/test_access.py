"""Whatever a caller sends: nobody comes in who was not let in, and who was let in gets no further than that."""

from __future__ import annotations

import itertools
import logging
import string
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trimtab.errors import RequestError
from trimtab.serving.access import REASONS, Access
from trimtab.serving.token_store import TokenStore
from trimtab.serving.tokens import SCOPES
from trimtab.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ["loan", "fraud"]
ANYTHING = b"Bearer anything"


def us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def comes_in(access: Access, header: bytes | None, scope: str | None, model: str | None, moment: datetime) -> bool:
    try:
        access.check(header, scope, model, us(moment))
    except RequestError as error:
        return error.status not in (401, 403)
    return True


@pytest.fixture(scope="module")
def two_tokens() -> tuple[Access, list[str]]:
    """A gateway with two tokens, a shared one and the admin's; all that may come in."""
    home = Path(tempfile.mkdtemp())
    store = TokenStore(home)
    texts = [store.create(name, SCOPES, START)[1] for name in ("one", "two")]
    access = Access(Settings.from_env({"TRIMTAB_HOME": str(home), "TRIMTAB_GATEWAY_TOKEN": "shared"}))
    return access, [*texts, "shared", (home / "admin.token").read_text()]


def changed(texts: list[str]) -> st.SearchStrategy[str]:
    """Texts near a token: a character changed, cut, added, another's id, another case."""
    text = st.sampled_from(texts)
    characters = string.ascii_letters + string.digits + "_"
    return st.one_of(
        st.builds(
            lambda t, i, c: t[: i % len(t)] + c + t[i % len(t) + 1 :],
            text,
            st.integers(0, 99),
            st.sampled_from(characters),
        ),
        st.builds(lambda t, i: t[: i % len(t)], text, st.integers(0, 99)),
        st.builds(lambda t, tail: t + tail, text, st.text(characters, min_size=1, max_size=70)),
        st.builds(lambda t: t.swapcase(), text),
        st.just(texts[0][:21] + texts[1][21:]),
        st.builds(lambda t: t[:20], text),
    )


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_token_but_the_right_one_is_ever_let_in(two_tokens: tuple[Access, list[str]], data: st.DataObject) -> None:
    """Neither noise nor anything near a token; every such call is counted."""
    access, texts = two_tokens
    prefixes = st.sampled_from([b"Bearer ", b"bearer ", b"BEARER  ", b"Basic ", b"", b"Bearer"])
    bearer = data.draw(prefixes)
    given_text = data.draw(st.binary(max_size=120) | changed(texts).map(str.encode))
    assume(given_text.strip() not in [text.encode() for text in texts])
    before = sum(access.denied.values())
    for scope in (*SCOPES, None):
        assert not comes_in(access, bearer + given_text, scope, None, START)
        assert not comes_in(access, None, scope, None, START)
    assert sum(access.denied.values()) == before + 2 * (len(SCOPES) + 1)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_right_one_in_another_scheme_is_not_let_in(
    two_tokens: tuple[Access, list[str]], data: st.DataObject
) -> None:
    access, texts = two_tokens
    text = data.draw(st.sampled_from(texts)).encode()
    scheme = data.draw(st.sampled_from([b"Basic ", b"", b"Token ", b"Bearer", b"Bearer\t", b" Bearer "]))
    assert not comes_in(access, scheme + text, None, None, START)
    assert comes_in(access, b"bearer " + text, None, None, START), "the scheme's case does not count (RFC 9110)"


def test_each_token_opens_its_scopes_and_models_and_nothing_else(tmp_path: Path) -> None:
    """The whole matrix: every set of scopes, every set of models, every question."""
    store = TokenStore(tmp_path)
    scope_sets = [chosen for n in (1, 2, 4) for chosen in itertools.combinations(SCOPES, n)]
    made = []
    for scopes, models in itertools.product(scope_sets, (None, ["loan"], MODELS)):
        _, text = store.create(f"t{len(made)}", scopes, START, models)
        made.append((f"Bearer {text}".encode(), scopes, models))
    access = Access(Settings.from_env({"TRIMTAB_HOME": str(tmp_path)}))
    for header, scopes, models in made * 2:  # twice: as it is known anew, and as it is remembered
        for scope, model in itertools.product((*SCOPES, None), (*MODELS, None)):
            allowed = (scope is None or scope in scopes) and (model is None or models is None or model in models)
            assert comes_in(access, header, scope, model, START) == allowed, (scopes, models, scope, model)
        caller = access.check(header, None, None, us(START))
        assert [caller.may_use(model) for model in MODELS] == [models is None or model in models for model in MODELS]
    assert access.denied.keys() == set(REASONS)
    assert access.denied["scope"] > 0
    assert access.denied["model"] > 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "revoke", "rotate", "wait"]),
        st.integers(0, 2),
        st.integers(0, 5),
        st.none() | st.integers(1, 8),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_after_any_changes_exactly_the_secrets_in_force_are_let_in(steps: list[tuple]) -> None:
    """Made, revoked, rotated with an overlap, expired: a gateway that never restarts follows (days as time)."""
    with tempfile.TemporaryDirectory() as folder:
        store = TokenStore(Path(folder))
        store.create("first", ["predict"], START)
        access = Access(Settings.from_env({"TRIMTAB_HOME": folder}))
        now = START
        secrets: dict[str, list[tuple[str, datetime]]] = {}
        ends: dict[str, datetime] = {}
        gone: list[str] = []
        forever = START + timedelta(days=10_000)
        for what, number, days, lifetime in steps:
            now += timedelta(seconds=2)
            name = f"t{number}"
            held = secrets.get(name)
            valid = held is not None and now < ends[name]
            if what == "create" and held is None:
                end = None if lifetime is None else now + timedelta(days=lifetime)
                secrets[name] = [(store.create(name, ["predict"], now, None, end)[1], forever)]
                ends[name] = end or forever
            elif what == "revoke" and held is not None:
                store.revoke(name, now)
                gone += [text for text, _ in secrets.pop(name)]
            elif what == "rotate" and held is not None and valid:
                end = now + timedelta(days=days)
                _, text = store.rotate(name, now, timedelta(days=days).total_seconds())
                secrets[name] = [*((old, min(until, end)) for old, until in held), (text, forever)]
            elif what == "wait":
                now += timedelta(days=days)
            for each in secrets:
                for text, until in secrets[each]:
                    expected = now < min(until, ends[each])
                    assert comes_in(access, f"Bearer {text}".encode(), "predict", "loan", now) == expected
            assert not any(comes_in(access, f"Bearer {text}".encode(), "predict", "loan", now) for text in gone)
            assert not comes_in(access, ANYTHING, "predict", "loan", now)


def test_no_secret_reaches_the_log_or_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the reason for which a call is denied."""
    store = TokenStore(tmp_path)
    texts = [store.create(name, ["read"], START, ["loan"])[1] for name in ("one", "two", "three", "four")]
    store.revoke("two", START)
    texts.append(store.rotate("three", START, overlap_s=0)[1])
    access = Access(Settings.from_env({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_GATEWAY_TOKEN": "the-shared-one"}))
    texts += ["the-shared-one", (tmp_path / "admin.token").read_text()]
    answers = []
    with caplog.at_level(logging.DEBUG):
        for second, text in enumerate([*texts, texts[0][:-1] + "x", texts[0].upper()]):
            for header in (f"Bearer {text}", f"Basic {text}", text, f"Bearer {text}{text}"):
                for scope, model in (("predict", "loan"), ("read", "fraud"), ("admin", None)):
                    try:
                        access.check(
                            header.encode(), scope, model, us(START + timedelta(seconds=2 * second)), "10.0.0.7:99"
                        )
                    except RequestError as error:
                        answers.append(str(error))
    assert {reason for reason in REASONS if access.denied[reason]} == set(REASONS) - {"missing"}
    said = caplog.text + "".join(answers)
    assert "10.0.0.7:99" in caplog.text
    for text in texts:
        assert text not in said
        assert text.rpartition("_")[2] not in said
