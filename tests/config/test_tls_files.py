"""TLS files: what can be used is, and of what cannot the one to blame is named, with nothing it holds."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sidecar.config.settings.admin_api_settings import AdminApiTls
from sidecar.config.settings.settings import BackendTls, ServerTls
from sidecar.config.tls_files import CertificateError, Fault, read_credentials, stamp_of
from tests.support.certificates import Authority, Pair, replace


def server(pair: Pair) -> ServerTls:
    return ServerTls(cert=pair.cert, key=pair.key)


def faults(source: ServerTls | BackendTls) -> list[tuple[str, str]]:
    with pytest.raises(CertificateError) as caught:
        read_credentials(source)
    assert all(fault.accepted for fault in caught.value.faults)
    return [(fault.key, fault.wrong) for fault in caught.value.faults]


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake that was carried out in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
        if len(done) == 2:
            return ends
    raise AssertionError("the handshake does not end")


# --- what is used --------------------------------------------------------------------------------


def test_the_listener_speaks_modern_tls_and_http_1_1(authority: Authority, pair: Pair):
    listener = read_credentials(server(pair)).context
    client = authority.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    end, _ = shaken(listener, client)
    assert (end.version(), end.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    end, _ = shaken(listener, client)
    cipher = end.cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE-")
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_older_versions_and_weaker_ciphers_are_refused(authority: Authority, pair: Pair):
    listener = read_credentials(server(pair)).context
    assert listener.minimum_version == ssl.TLSVersion.TLSv1_2  # whatever Python was built with
    for version, ciphers in (
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES256+SHA384:!AESGCM"),
    ):
        client = authority.client()
        client.set_ciphers(ciphers)
        client.minimum_version = ssl.TLSVersion.TLSv1_1
        client.maximum_version = version
        with pytest.raises(ssl.SSLError):
            shaken(listener, client)


def test_certificate_and_key_may_be_one_file(authority: Authority, pair: Pair, tmp_path: Path):
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes() + authority.cert.read_bytes())
    shaken(read_credentials(ServerTls(cert=both, key=both)).context, authority.client())


def test_the_backend_is_verified_by_the_named_authority_alone(authority: Authority, pair: Pair, tmp_path: Path):
    there = authority.server(pair)
    shaken(there, read_credentials(BackendTls(ca=authority.cert)).context)
    other = Authority(tmp_path, "other")
    for source in (BackendTls(), BackendTls(ca=other.cert)):
        with pytest.raises(ssl.SSLCertVerificationError):
            shaken(there, read_credentials(source).context)


def test_one_certificate_may_be_trusted_by_itself(authority: Authority, pair: Pair):
    other = authority.issue("other")
    shaken(authority.server(pair), read_credentials(BackendTls(ca=pair.cert)).context)
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(authority.server(other), read_credentials(BackendTls(ca=pair.cert)).context)


def test_the_name_of_the_backend_is_verified(authority: Authority):
    elsewhere = authority.issue("elsewhere", alternatives=())
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shaken(authority.server(elsewhere), read_credentials(BackendTls(ca=authority.cert)).context)


def test_the_backend_is_shown_the_certificate_it_asks_for(authority: Authority, pair: Pair):
    mine = authority.issue("client", alternatives=())
    source = BackendTls(ca=authority.cert, cert=mine.cert, key=mine.key)
    _, end = shaken(authority.server(pair, ask=True), read_credentials(source).context)
    shown = end.getpeercert()
    assert shown is not None
    assert (("commonName", "client"),) in shown["subject"]


# --- what is not ---------------------------------------------------------------------------------


def test_files_that_are_not_there_are_all_named(tmp_path: Path):
    missing = {"cert": tmp_path / "no.pem", "key": tmp_path / "no.key"}
    gone = "cannot be read (No such file or directory)"
    assert faults(ServerTls(**missing)) == [("cert", gone), ("key", gone)]
    every = [("ca", gone), ("cert", gone), ("key", gone)]
    assert faults(BackendTls(ca=tmp_path / "no", **missing)) == every


def test_only_regular_files_are_read(authority: Authority, pair: Pair, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert faults(ServerTls(cert=pair.cert, key=tmp_path / "pipe")) == [("key", "is not a regular file")]
    assert faults(BackendTls(ca=tmp_path)) == [("ca", "is not a regular file")]


def test_a_key_of_another_certificate(authority: Authority, pair: Pair):
    other = authority.issue("other")
    assert faults(ServerTls(cert=pair.cert, key=other.key)) == [("key", "it does not match the certificate in `cert`")]


def test_an_encrypted_key_is_an_error_and_no_question(authority: Authority, capfd: pytest.CaptureFixture[str]):
    locked = authority.issue("locked", passphrase="hunter2")
    ((key, wrong),) = faults(server(locked))
    assert (key, "encrypted" in wrong) == ("key", True)
    assert capfd.readouterr() == ("", "")


def test_certificate_and_key_exchanged(pair: Pair):
    assert faults(ServerTls(cert=pair.key, key=pair.cert)) == [
        ("cert", "no certificate can be read from it"),
        ("key", "no private key can be read from it"),
    ]


@pytest.mark.parametrize("content", [b"", b"hunter2", b"\xff\xfe\0", b"-----BEGIN CERTIFICATE-----\nhunter2\n"])
def test_files_of_something_else(pair: Pair, tmp_path: Path, content: bytes):
    junk = tmp_path / "junk"
    junk.write_bytes(content)
    output = [
        *faults(ServerTls(cert=junk, key=pair.key)),
        *faults(ServerTls(cert=pair.cert, key=junk)),
        *faults(BackendTls(ca=junk)),
    ]
    assert [key for key, _ in output] == ["cert", "key", "ca"]
    assert "hunter2" not in str(output)


def test_half_of_a_file(authority: Authority, pair: Pair, tmp_path: Path):
    chain = pair.cert.read_bytes() + authority.cert.read_bytes()
    half = tmp_path / "half"
    for size in (len(pair.cert.read_bytes()) // 2, len(chain) - 30):
        half.write_bytes(chain[:size])
        assert [key for key, _ in faults(ServerTls(cert=half, key=pair.key))] == ["cert"]
    half.write_bytes(pair.key.read_bytes()[:80])
    assert [key for key, _ in faults(ServerTls(cert=pair.cert, key=half))] == ["key"]


def test_messages_contain_no_content_of_a_file(authority: Authority, pair: Pair):
    locked = authority.issue("locked", passphrase="hunter2")
    secret = {*locked.key.read_text().splitlines()[1:-1], *pair.key.read_text().splitlines()[1:-1]}
    for source in (server(locked), ServerTls(cert=pair.key, key=pair.cert), ServerTls(cert=locked.cert, key=pair.key)):
        with pytest.raises(CertificateError) as caught:
            read_credentials(source)
        assert not [line for line in secret if line in str(caught.value) + repr(caught.value.faults)]


# --- time ----------------------------------------------------------------------------------------


def test_when_it_ends_is_known(authority: Authority, pair: Pair):
    credentials = read_credentials(server(pair))
    now = datetime.now(UTC)
    assert credentials.not_after is not None
    assert 0 < (credentials.not_after - now).total_seconds() <= 86400
    assert credentials.validity_problem(now) is None
    assert read_credentials(BackendTls(ca=authority.cert)).not_after is None


def test_the_first_of_a_chain_to_end_counts(authority: Authority, tmp_path: Path):
    long, short = authority.issue("long", days=300), authority.issue("short", days=2)
    long.cert.write_bytes(long.cert.read_bytes() + short.cert.read_bytes())
    ends = read_credentials(server(long)).not_after
    assert ends is not None
    assert ends.timestamp() == short.ends


def test_a_certificate_out_of_its_time_can_be_used_and_is_reported(authority: Authority):
    for pair, words in (
        (authority.issue("old", begins=-9, days=-2), "the certificate has expired, on 20"),
        (authority.issue("young", begins=2, days=9), "the certificate is not valid before 20"),
    ):
        output = read_credentials(server(pair)).validity_problem(datetime.now(UTC))
        assert output is not None
        assert output.startswith(words)


# --- change --------------------------------------------------------------------------------------


def test_every_way_to_change_a_file_changes_its_stamp(authority: Authority, pair: Pair, tmp_path: Path):
    link = tmp_path / "link.pem"
    link.symlink_to(pair.cert)
    source = ServerTls(cert=link, key=pair.key)
    seen = [stamp_of(source)]
    other = authority.issue("other")
    replace(pair.cert, pair.cert.read_bytes())  # the same content, in another file
    seen.append(stamp_of(source))
    with pair.cert.open("ab") as file:
        file.write(b"\n")
    seen.append(stamp_of(source))
    link.unlink()
    seen.append(stamp_of(source))
    link.symlink_to(other.cert)
    seen.append(stamp_of(source))
    assert len(set(seen)) == 5
    assert stamp_of(source) == seen[-1]


def test_a_fault_is_what_it_says():
    error = CertificateError([Fault("cert", "wrong", "right"), Fault("key", "bad", "good")])
    assert str(error) == "cert: wrong; key: bad"


# --- admin API ---------------------------------------------------------------------------------------


def test_the_admin_api_asks_clients_for_a_certificate_and_takes_others_too(authority: Authority, pair: Pair):
    source = AdminApiTls.model_construct(cert=pair.cert, key=pair.key, client_ca=authority.cert)
    context = read_credentials(source).context
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert context.cert_store_stats()["x509_ca"] == 1
    alone = AdminApiTls.model_construct(cert=pair.cert, key=pair.key, client_ca=None)
    assert read_credentials(alone).context.verify_mode is ssl.CERT_NONE


def test_authorities_of_clients_that_cannot_be_read_are_named(authority: Authority, pair: Pair, tmp_path: Path):
    (tmp_path / "empty.pem").write_bytes(b"")
    for path, wrong in ((tmp_path / "none.pem", "cannot be read"), (tmp_path / "empty.pem", "no certificate")):
        with pytest.raises(CertificateError) as refused:
            read_credentials(AdminApiTls.model_construct(cert=pair.cert, key=pair.key, client_ca=path))
        [fault] = refused.value.faults
        assert fault.key == "client_ca"
        assert wrong in fault.wrong
