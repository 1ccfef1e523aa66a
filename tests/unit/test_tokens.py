"""Tokens are made, ended and given new secrets without losing any; a running gateway follows, and fails closed."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trimtab.cli import app
from trimtab.errors import RequestError, SpecError
from trimtab.serving.access import Access, refuse_to_be_open
from trimtab.serving.token_store import TokenStore
from trimtab.serving.tokens import load_tokens
from trimtab.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLE = Path(__file__).parents[1] / "contracts" / "samples" / "tokens-1.json"
SAMPLE_SECRETS = {"old": "1" * 64, "new": "2" * 64, "admin": "3" * 64, "gone": "4" * 64}


def us(seconds: float) -> int:
    return int((START.timestamp() + seconds) * 1e6)


def settings_for(home: Path, **extra: str) -> Settings:
    return Settings.from_env({"TRIMTAB_HOME": str(home), **extra})


def allowed(access: Access, text: str, seconds: float, scope: str = "predict", model: str = "loan") -> bool:
    try:
        access.check(f"Bearer {text}".encode(), scope, model, us(seconds))
    except RequestError:
        return False
    return True


# The file


def test_the_file_holds_digests_for_its_owner_only_and_no_secret(tmp_path: Path) -> None:
    token, text = TokenStore(tmp_path).create("app", ["predict"], START)
    file = tmp_path / "tokens.json"
    secret = text.removeprefix(f"trimtab_{token.id}_")
    assert len(bytes.fromhex(secret)) == 32
    assert secret not in file.read_text()
    assert token.secrets[0].sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.json", "tokens.made"]


def test_tokens_written_by_the_first_release_are_read_for_ever(tmp_path: Path) -> None:
    """samples/tokens-1.json: two secrets, models and an end; all models and no end; revoked."""
    shutil.copy(SAMPLE, tmp_path / "tokens.json")
    (tmp_path / "tokens.json").chmod(0o600)
    access = Access(settings_for(tmp_path))
    old, new = (f"trimtab_aaaaaaaaaaaa_{SAMPLE_SECRETS[which]}" for which in ("old", "new"))
    assert allowed(access, old, 0)
    assert not allowed(access, old, 86_400 * 2), "it was rotated"
    assert allowed(access, new, 86_400 * 2)
    assert not allowed(access, new, 86_400 * 2, model="fraud")
    assert not allowed(access, new, 86_400 * 366), "it has expired"
    assert allowed(access, f"trimtab_bbbbbbbbbbbb_{SAMPLE_SECRETS['admin']}", 86_400 * 9999, "admin", "fraud")
    assert not allowed(access, f"trimtab_cccccccccccc_{SAMPLE_SECRETS['gone']}", 0)
    TokenStore(tmp_path).rotate("app", START, 60)
    assert len(load_tokens(tmp_path / "tokens.json")[0].secrets) == 3, "and written on"


def test_several_commands_at_once_lose_no_token(tmp_path: Path) -> None:
    """Eight writers, each with a store of its own, five tokens each."""
    texts: list[str] = []

    def write(writer: int) -> None:
        store = TokenStore(tmp_path)
        texts.extend(store.create(f"w{writer}-{number}", ["predict"], START)[1] for number in range(5))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len({token.id for token in TokenStore(tmp_path).tokens()}) == 40
    access = Access(settings_for(tmp_path))
    assert all(allowed(access, text, 0) for text in texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("App Server", ["predict"]), "named 'App Server'; a name is lower-case letters"),
        (("a/b", ["predict"]), "named 'a/b'"),
        (("", ["predict"]), "named ''"),
        (("gateway-token", ["predict"]), "'gateway-token' is what trimtab calls a token of its own"),
        (("app", ["write"]), r"\['write'\] are no scopes; there are predict, outcomes, read, admin"),
        (("app", []), "opens nothing"),
        (("app", ["predict"], START, ["Loan!"]), r"\['Loan!'\] name no model"),
        (("app", ["predict"], START, None, START), "it would expire at 2026-01-01 00:00 UTC; that must be later"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused_and_nothing_written(
    tmp_path: Path, arguments: tuple, message: str
) -> None:
    name, scopes, *rest = arguments
    with pytest.raises(SpecError, match=message):
        TokenStore(tmp_path).create(name, scopes, *(rest or [START]))
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_free_again_once_its_token_is_revoked(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    first, _ = store.create("app", ["predict"], START)
    with pytest.raises(SpecError, match=f"there is a token 'app' already \\({first.id}, valid\\)"):
        store.create("app", ["read"], START)
    store.revoke("app", START)
    second, _ = store.create("app", ["read"], START)
    store.revoke(first.id, START + timedelta(days=1))
    assert [token.revoked_at for token in store.tokens()] == [START, None], "revoking twice changes nothing"
    assert store.revoke("app", START).id == second.id
    with pytest.raises(SpecError, match="no token 'app' that is not revoked; there are: none"):
        store.rotate("app", START, 60)
    with pytest.raises(SpecError, match="is revoked: create another"):
        store.rotate(first.id, START, 60)


def test_an_expired_token_gets_a_new_secret_only_with_a_new_end(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    store.create("app", ["predict"], START, None, START + timedelta(days=1))
    later = START + timedelta(days=2)
    with pytest.raises(SpecError, match=r"is expired: give it a new end, too \(--expires\)"):
        store.rotate("app", later, 60)
    token, _ = store.rotate("app", later, 60, later + timedelta(days=1))
    assert token.state(later) == "valid"


# A gateway that runs


def test_without_any_token_the_gateway_is_open_but_for_routes(tmp_path: Path) -> None:
    access = Access(settings_for(tmp_path))
    assert not access.in_force
    assert access.check(None, "predict", "loan", us(0)).name == ""
    assert allowed(access, "anything", 0, "read")
    with pytest.raises(RequestError, match=r"missing; .* for routes, the one in admin.token") as refusal:
        access.check(None, "admin", None, us(0))
    assert refusal.value.status == 401
    assert allowed(access, (tmp_path / "admin.token").read_text(), 0, "admin")


def test_a_new_token_counts_within_a_second_and_so_does_its_end(tmp_path: Path) -> None:
    access, store = Access(settings_for(tmp_path)), TokenStore(tmp_path)
    assert access.check(None, "predict", "loan", us(0)).name == ""
    _, text = store.create("app", ["predict"], START)
    with pytest.raises(RequestError, match="missing"):
        access.check(None, "predict", "loan", us(1))
    assert allowed(access, text, 1)
    store.revoke("app", START)
    assert not allowed(access, text, 2)
    with pytest.raises(RequestError, match="missing"):
        access.check(None, "predict", "loan", us(3))
    assert access.denied == {"missing": 2, "unknown": 0, "expired": 0, "revoked": 1, "scope": 0, "model": 0}


def test_a_clock_that_is_set_back_does_not_put_off_the_look_at_the_files(tmp_path: Path) -> None:
    access, store = Access(settings_for(tmp_path)), TokenStore(tmp_path)
    _, text = store.create("app", ["predict"], START)
    assert allowed(access, text, 3600)
    store.revoke("app", START)
    assert not allowed(access, text, 10)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "",
        lambda text: text.replace("predict", "everything"),
        lambda text: text.replace('"format_version": 1', '"format_version": 2'),
        lambda text: text.replace('"name"', '"only_from": "10.0.0.0/8", "name"'),
        lambda text: text.replace('"sha256": "', '"sha256": "zz'),
        lambda text: "[" * 5000,
        lambda text: text + "\xff",
    ],
)
def test_a_damaged_file_leaves_the_last_good_one_in_force_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    """Also a file of a later version: what it says and this one does not know may restrict a token."""
    store = TokenStore(tmp_path)
    _, text = store.create("app", ["predict"], START)
    access, file = Access(settings_for(tmp_path)), tmp_path / "tokens.json"
    good = file.read_text()
    file.write_bytes(damage(good).encode("latin-1"))  # type: ignore[operator]
    for second in (1, 2, 3):
        assert allowed(access, text, second)
        assert not allowed(access, text[:-1], second)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert f"{file} does not hold tokens" in errors[0].getMessage()
    with pytest.raises(SpecError, match="does not hold tokens"):
        store.create("other", ["predict"], START)
    with pytest.raises(SpecError, match="does not hold tokens"):
        Access(settings_for(tmp_path))
    file.write_text(good)
    store.revoke("app", START)
    assert not allowed(access, text, 4), "what is mended is taken up"


def test_a_file_that_others_may_write_to_is_not_believed(tmp_path: Path) -> None:
    TokenStore(tmp_path).create("app", ["predict"], START)
    (tmp_path / "tokens.json").chmod(0o666)
    with pytest.raises(SpecError, match=r"may be written to by others than its owner \(mode 666\); set it to 600"):
        Access(settings_for(tmp_path))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("mark", [False, True])
def test_a_file_that_is_gone_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, restarted: bool, mark: bool
) -> None:
    """It does not open the gateway; only with its mark gone, too, and after a restart, were tokens never made."""
    store = TokenStore(tmp_path)
    _, text = store.create("app", ["predict"], START)
    access, kept = Access(settings_for(tmp_path)), (tmp_path / "tokens.json").read_bytes()
    store.file.unlink()
    if not mark:
        store.mark.unlink()
    if restarted:
        access = Access(settings_for(tmp_path))
    open_again = restarted and not mark
    assert allowed(access, text, 1) == allowed(access, "anything", 1) == open_again
    assert ("is gone, though tokens were made" in caplog.text) != open_again
    store.file.write_bytes(kept)
    store.file.chmod(0o600)
    assert allowed(access, text, 2)
    assert not allowed(access, "anything", 2)


def test_the_admin_token_is_replaced_without_a_restart(tmp_path: Path) -> None:
    access, file = Access(settings_for(tmp_path)), tmp_path / "admin.token"
    old = file.read_text()
    assert allowed(access, old, 0, "admin")
    assert access.check(f"Bearer {old}".encode(), None, None, us(0)).name == ""
    file.unlink()
    assert allowed(access, old, 1, "admin"), "until someone makes a new one"
    file.write_text("the-new-one\n")
    assert not allowed(access, old, 2, "admin")
    assert allowed(access, "the-new-one", 2, "admin")
    file.write_text("")
    assert not allowed(access, "", 3, "admin"), "an empty file is no token"
    assert allowed(access, "the-new-one", 3, "admin")


def test_the_shared_token_opens_all_but_routes(tmp_path: Path) -> None:
    access = Access(settings_for(tmp_path, TRIMTAB_GATEWAY_TOKEN="shared"))
    assert [allowed(access, "shared", 0, scope) for scope in ("predict", "outcomes", "read", "admin")] == [
        *(True, True, True),
        False,
    ]
    assert not allowed(access, "other", 0)
    with pytest.raises(RequestError) as refusal:
        access.check(b"Bearer shared", "admin", None, us(0))
    assert refusal.value.status == 403


def test_a_token_of_the_store_in_the_gateways_own_environment_opens_only_what_it_says(tmp_path: Path) -> None:
    """Services share their variables: what a flow sends must not become a key to everything."""
    store = TokenStore(tmp_path)
    _, text = store.create("flows", ["read"], START, ["loan"])
    access = Access(settings_for(tmp_path, TRIMTAB_GATEWAY_TOKEN=text))
    assert allowed(access, text, 0, "read")
    assert not allowed(access, text, 0, "predict")
    assert not allowed(access, text, 0, "read", "fraud")
    store.revoke("flows", START)
    assert not allowed(access, text, 1, "read")
    assert not allowed(access, text, 1, "predict")


def test_an_authenticated_caller_cannot_pass_for_another_on_record(tmp_path: Path) -> None:
    """The token's name comes first, what the caller says after it; a name holds no slash."""
    store = TokenStore(tmp_path)
    _, text = store.create("app", ["predict"], START)
    access = Access(settings_for(tmp_path, TRIMTAB_GATEWAY_TOKEN="shared"))
    caller = access.check(f"Bearer {text}".encode(), "predict", "loan", us(0))
    assert [caller.on_record(header) for header in (None, b"", b"other", b"app", b"/x")] == [
        *("app", "app", "app/other", "app/app"),
        "app//x",
    ]
    shared = access.check(b"Bearer shared", "predict", "loan", us(0))
    assert shared.on_record(b"app") == "gateway-token/app"
    with pytest.raises(RequestError, match="x-trimtab-caller has 201 characters; it may have 200"):
        caller.on_record(b"x" * 201)
    anyone = Access(settings_for(tmp_path / "open")).check(None, "predict", "loan", us(0))
    assert anyone.on_record(b"branch-7") == "branch-7"


def test_a_flood_of_wrong_tokens_is_counted_whole_and_logged_a_line_a_second(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    TokenStore(tmp_path).create("app", ["predict"], START)
    access = Access(settings_for(tmp_path))
    for moment in range(3000):
        assert not allowed(access, f"wrong-{moment}", moment / 1000)
    assert access.denied["unknown"] == 3000
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0] == "denied (unknown): caller unknown, token none"
    assert lines[1] == "denied (unknown): caller unknown, token none; 999 more since the last such line"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "gateway.internal", ""])
def test_a_gateway_that_others_reach_is_not_open_unless_that_is_said(tmp_path: Path, host: str) -> None:
    settings = settings_for(tmp_path)
    with pytest.raises(SpecError, match=r"let everyone in: make a token first .* TRIMTAB_ALLOW_OPEN=true"):
        refuse_to_be_open(Access(settings), settings, host)
    said = settings_for(tmp_path, TRIMTAB_ALLOW_OPEN="true")
    refuse_to_be_open(Access(said), said, host)
    shared = settings_for(tmp_path, TRIMTAB_GATEWAY_TOKEN="shared")
    refuse_to_be_open(Access(shared), shared, host)
    TokenStore(tmp_path).create("app", ["predict"], START)
    refuse_to_be_open(Access(settings), settings, host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_on_loopback_it_may_be_open(tmp_path: Path, host: str) -> None:
    refuse_to_be_open(Access(settings_for(tmp_path)), settings_for(tmp_path), host)


# The command


def run(home: Path, *arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(app, ["tokens", *arguments], env={"TRIMTAB_HOME": str(home), **variables})


def test_the_command_prints_the_secret_once_to_stdout_alone_and_never_lists_it(tmp_path: Path) -> None:
    made = run(tmp_path, "create", "app", "--scope", "predict", "--scope", "read", "--model", "loan")
    text = made.stdout.strip()
    assert made.stdout == text + "\n"
    assert made.stdout.startswith("trimtab_")
    assert text not in made.stderr
    assert "app (" in made.stderr
    rotated = run(tmp_path, "rotate", "app", "--overlap-s", "60", "--expires", "2999-01-01")
    new = rotated.stdout.strip()
    listed = run(tmp_path, "list")
    (line,) = listed.stdout.splitlines()
    name, token_id, *cells = line.split("\t")
    assert name == "app"
    assert cells[:3] == ["valid", "predict,read", "loan"]
    assert cells[4:] == ["expires 2999-01-01 00:00 UTC", "2 valid"]
    access = Access(settings_for(tmp_path))
    now = datetime.now(UTC).timestamp() - START.timestamp()
    assert allowed(access, text, now)
    assert allowed(access, new, now)
    ended = run(tmp_path, "revoke", token_id)
    assert ended.stdout == f"revoked app ({token_id})\n"
    again = run(tmp_path, "list")
    for secret in (text.rpartition("_")[2], new.rpartition("_")[2]):
        for said in (listed, ended, again):
            assert secret not in said.output
        assert secret not in (tmp_path / "tokens.json").read_text()


def test_a_token_for_a_model_that_there_is_not_is_made_and_said(tmp_path: Path) -> None:
    models = str(Path(__file__).parents[1] / "models")
    scoped = ("create", "app", "--scope", "predict", "--model")
    made = run(tmp_path, *scoped, "laon", TRIMTAB_MODELS_DIR=models)
    assert made.stdout.startswith("trimtab_")
    assert "note: there is no model 'laon' in " in made.stderr
    assert "there are ['loan', 'parcel']" in made.stderr
    assert "note" not in run(tmp_path, "create", "b", *scoped[2:], "loan", TRIMTAB_MODELS_DIR=models).stderr
    elsewhere = run(tmp_path, "create", "c", *scoped[2:], "loan", TRIMTAB_MODELS_DIR=str(tmp_path / "none"))
    assert elsewhere.exit_code == 0
    assert "note" not in elsewhere.stderr


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    assert "there are no tokens; make one with `trimtab tokens create" in run(tmp_path, "list").stdout
    assert run(tmp_path, "create", "app").exit_code == 2, "a token without a scope opens nothing"
    soon = run(tmp_path, "create", "app", "--scope", "predict", "--expires", "soon")
    assert soon.exit_code == 2
    assert "--expires is 'soon'" in soon.stderr
    missing = run(tmp_path, "revoke", "app")
    assert isinstance(missing.exception, SpecError)
    assert list(tmp_path.iterdir()) == [], "what fails leaves no trace that would shut the gateway"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for another user")
def test_what_root_makes_belongs_to_the_homes_owner_whose_gateway_is_to_read_it(tmp_path: Path) -> None:
    os.chown(tmp_path, 10001, 10001)
    TokenStore(tmp_path).create("app", ["predict"], START)
    Access(settings_for(tmp_path))
    for name in ("tokens.json", "tokens.made", "admin.token"):
        assert (tmp_path / name).stat().st_uid == 10001
