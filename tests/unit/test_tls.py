"""TLS settings make a context, or say which file is wrong and what would be right."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from tests.certificates import Authority, encrypted
from trimtab.errors import SpecError
from trimtab.serving.client import GatewayClient
from trimtab.serving.tls import client_tls, tls_context
from trimtab.settings import Settings

HTTPS = "https://127.0.0.1:8443"


def settings_with(home: Path, url: str = HTTPS, **files: Path | str) -> Settings:
    named = {f"TRIMTAB_TLS_{name.upper()}": str(file) for name, file in files.items()}
    return Settings.from_env({"TRIMTAB_HOME": str(home), "TRIMTAB_GATEWAY_URL": url, **named})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gateway.crt, gateway.key, gateway.locked; other.crt, other.key; authority.pem; nonsense.pem."""
    made = tmp_path_factory.mktemp("certificates")
    authority = Authority(made)
    encrypted(authority.issue("gateway")[1])
    authority.issue("other")
    (made / "nonsense.pem").write_text("-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n")
    return made


def test_without_a_certificate_the_gateway_speaks_plainly(tmp_path: Path) -> None:
    assert tls_context(settings_with(tmp_path, "http://127.0.0.1:8080")) is None


def test_with_a_certificate_it_speaks_tls_1_2_or_newer_and_asks_for_one_only_if_told(folder: Path) -> None:
    pair = {"cert": folder / "gateway.crt", "key": folder / "gateway.key"}
    plain = tls_context(settings_with(folder, **pair))
    assert plain is not None
    assert (plain.minimum_version, plain.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_NONE)
    mutual = tls_context(settings_with(folder, **pair, client_ca=folder / "authority.pem"))
    assert mutual is not None
    assert mutual.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cert": "gateway.crt"}, "TRIMTAB_TLS_CERT is set but not TRIMTAB_TLS_KEY: TLS takes both"),
        ({"key": "gateway.key"}, "TRIMTAB_TLS_KEY is set but not TRIMTAB_TLS_CERT"),
        ({"client_ca": "authority.pem"}, "TRIMTAB_TLS_CLIENT_CA is set but not TRIMTAB_TLS_CERT"),
        ({"cert": "none.crt", "key": "gateway.key"}, "TRIMTAB_TLS_CERT is .*none.crt', which cannot be read: No such"),
        ({"cert": "gateway.crt", "key": "none.key"}, "TRIMTAB_TLS_KEY is .*none.key', which cannot be read: No such"),
        ({"cert": "gateway.crt", "key": "."}, "TRIMTAB_TLS_KEY is .*, which cannot be read: Is a directory"),
        ({"cert": "gateway.crt", "key": "other.key"}, "the key .*other.key is not that of the certificate .*gateway"),
        ({"cert": "gateway.crt", "key": "gateway.locked"}, "must hold a certificate and its unencrypted key, as PEM"),
        ({"cert": "gateway.key", "key": "gateway.key"}, "must hold a certificate and its unencrypted key, as PEM"),
        ({"cert": "nonsense.pem", "key": "gateway.key"}, "must hold a certificate and its unencrypted key, as PEM"),
        (
            {"cert": "gateway.crt", "key": "gateway.key", "client_ca": "gateway.key"},
            "TRIMTAB_TLS_CLIENT_CA: .*gateway.key holds no certificates",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_setting_and_the_file(
    folder: Path, files: dict[str, str], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        tls_context(settings_with(folder, **{name: folder / file for name, file in files.items()}))


def test_a_certificate_that_has_expired_is_told_at_the_start(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With mutual TLS too."""
    authority = Authority(tmp_path)
    for valid, told in ((timedelta(hours=-1), True), (timedelta(hours=1), False)):
        caplog.clear()
        chain, key = authority.issue("gateway", valid)
        for more in ({}, {"client_ca": authority.file}):
            assert tls_context(settings_with(folder, cert=chain, key=key, **more)) is not None
        assert ([f"{chain} has expired" in record.message for record in caplog.records] == [True, True]) is told


def test_a_gateway_with_a_certificate_has_an_https_address(folder: Path) -> None:
    """Else every flow would speak plainly to it and find nobody."""
    pair = {"cert": folder / "gateway.crt", "key": folder / "gateway.key"}
    with pytest.raises(SpecError, match=r"TRIMTAB_GATEWAY_URL is 'http://127.0.0.1:8080', but TRIMTAB_TLS_CERT is set"):
        tls_context(settings_with(folder, "http://127.0.0.1:8080", **pair))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ca": "none.pem"}, "TRIMTAB_TLS_CA is .*none.pem', which cannot be read"),
        ({"ca": "gateway.key"}, "TRIMTAB_TLS_CA: .*gateway.key holds no certificates"),
        ({"client_cert": "gateway.crt"}, "TRIMTAB_TLS_CLIENT_CERT is set but not TRIMTAB_TLS_CLIENT_KEY"),
        ({"client_cert": "gateway.crt", "client_key": "other.key"}, "the key .*other.key is not that of"),
    ],
)
def test_a_client_says_which_of_its_files_is_wrong(folder: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        GatewayClient(settings_with(folder, **{name: folder / file for name, file in files.items()}))


def test_a_client_verifies_with_the_authority_that_is_named_or_the_systems(folder: Path) -> None:
    own = client_tls(settings_with(folder, ca=folder / "authority.pem"))
    assert [each["subject"] for each in own.get_ca_certs()] == [((("commonName", "authority"),),)]
    for context in (own, client_tls(settings_with(folder))):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
