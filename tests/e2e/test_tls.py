"""TLS of an `http.service`: handshakes right and wrong, certificates of servers and of clients,
and new ones while the server runs. Sessions over it are in test_wss.py."""

import hashlib
import json
import os
import random
import shutil
import socket
import ssl
import statistics
import subprocess
import time

import pytest

from harness import tls
from harness.folders import GOOD
from harness.server import Server, moonwire
from harness.waiting import until
from harness.wire import RawSocket, Wire, fetch

HANDLER = """\
local http = require("http")

local function handler()
    local req = http.request()
    local certificate = req:client_certificate()
    http.response():write_json({ scheme = req:scheme(), certificate = certificate or "none" })
end

return handler
"""


@pytest.fixture
def secure(folder, own_server, tmp_path):
    """A server of its own with the files of a certificate that the test may change."""

    def start(sets=(), **options):
        cert, key = tls.authority().issue(folder=tmp_path, stem="server")
        app = folder(GOOD, handler__luau=HANDLER)
        sets = [*tls.settings(certificate=(cert, key)), *sets]
        return own_server(app, sets=sets, **options)

    return start


def hello(lease, context=None):
    context = context or tls.trusting()
    return fetch(lease.address(), "GET", "/ws/hello", tls=context)


def shaken(lease, context=None, **options):
    """A TLS socket whose handshake is done."""
    sock = socket.create_connection(lease.address(), timeout=10)
    return (context or tls.trusting()).wrap_socket(sock, server_hostname="localhost", **options)


def serial(lease):
    """The serial number of the certificate that a new client is shown."""
    with shaken(lease) as sock:
        return int(sock.getpeercert()["serialNumber"], 16)


def client_hello(context=None):
    """The first bytes that a client says."""
    sent = ssl.MemoryBIO()
    client = (context or tls.trusting()).wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


# Handshakes


def test_the_announcement_names_https(secure):
    lease = secure()
    assert lease.server.schemes["app:gateway"] == "https"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_1_2_and_1_3_are_spoken(secure, version):
    lease = secure()
    context = tls.authority().context(minimum_version=version, maximum_version=version)
    answer = hello(lease, context)
    assert answer.json() == {"scheme": "https", "certificate": "none"}
    with shaken(lease, context) as sock:
        assert sock.version() == version.name.replace("_", ".")


def test_older_versions_are_refused(secure):
    lease = secure()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shaken(lease, context)
    assert hello(lease).status == 200


def test_a_protocol_is_agreed_on_if_the_client_wishes_and_an_unknown_one_refused(secure):
    lease = secure()
    for offered, agreed in ((["http/1.1"], "http/1.1"), (["spdy/3", "http/1.1"], "http/1.1"), ([], None)):
        context = tls.authority().context()
        if offered:
            context.set_alpn_protocols(offered)
        with shaken(lease, context) as sock:
            assert sock.selected_alpn_protocol() == agreed
    context = tls.authority().context()
    context.set_alpn_protocols(["spdy/3"])
    with pytest.raises(ssl.SSLError, match="no application protocol|NO_APPLICATION_PROTOCOL"):
        shaken(lease, context)


def test_a_client_that_comes_back_needs_no_whole_handshake(secure):
    lease = secure()
    context = tls.authority().context()
    with shaken(lease, context) as sock:
        sock.sendall(b"GET /ws/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        session = sock.session
    with shaken(lease, context, session=session) as sock:
        assert sock.session_reused
        sock.sendall(b"GET /ws/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_curl_trusts_the_chain_and_gets_its_answer(secure):
    lease = secure()
    _, port = lease.address()
    url = f"https://localhost:{port}/ws/hello"
    told = subprocess.run(
        ["curl", "-sS", "--cacert", str(tls.authority().path), "--resolve", f"localhost:{port}:127.0.0.1", url],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert json.loads(told.stdout)["scheme"] == "https", told.stderr


def test_plain_http_is_told_to_use_https(secure):
    lease = secure()
    wire = Wire(lease.address())
    answer = wire.request("GET", "/ws/hello")
    assert answer.status == 400
    assert "https://" in answer.text
    wire.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\x00" * 64,
        b"\xff" * 20000,
        b"\x16\x03\x01\xff\xff" + b"\x01" * 1000,
        b"\x16\x03\x01\x00\x00" * 200,
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        b"\x17\x03\x03\x00\x20" + b"\x00" * 32,
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"G",
    ],
    ids=["zeros", "ones", "too-long", "empty", "alert", "sslv2", "data", "huge-hello", "one-letter"],
)
def test_garbage_ends_the_connection_and_nothing_else(secure, said):
    lease = secure()
    wire = Wire(lease.address())
    wire.send(said)
    wire.sock.shutdown(socket.SHUT_WR)
    try:
        wire.until_end()
    except ConnectionResetError:
        pass
    assert hello(lease).status == 200


def test_a_hello_with_any_byte_changed_does_no_harm(secure):
    """Each of 300 hellos has one byte of it changed; whatever is answered, the next client is served."""
    lease = secure()
    good = client_hello()
    chance = random.Random(4)
    for _ in range(300):
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        wire = Wire(lease.address())
        wire.send(bytes(bad))
        wire.reset()
    assert hello(lease).status == 200


def test_a_handshake_byte_by_byte_succeeds(secure):
    lease = secure()
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.trusting().wrap_bio(received, sent, server_hostname="localhost")
    wire = Wire(lease.address())

    def step(act):
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                for byte in sent.read():
                    wire.send(bytes([byte]))
                received.write(wire.sock.recv(65536))

    step(client.do_handshake)
    client.write(b"GET /ws/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert step(lambda: client.read(4096)).startswith(b"HTTP/1.1 200")
    wire.close()


@pytest.mark.parametrize("said", [0, 1, 5, 200])
def test_a_handshake_that_does_not_go_on_is_cut_after_the_time_for_headers(secure, said):
    lease = secure(sets=["app:gateway:timeouts.header=300ms"])
    wire = Wire(lease.address())
    wire.send(client_hello()[:said])
    assert hello(lease).status == 200, "others are served meanwhile"
    assert wire.ended()


def test_a_header_that_does_not_go_on_after_the_handshake_is_cut_too(secure):
    lease = secure(sets=["app:gateway:timeouts.header=300ms"])
    with shaken(lease) as sock:
        sock.sendall(b"GET /ws/hello HTTP/1.1\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 408")
        assert sock.recv(4096) == b""


def test_a_reset_at_any_byte_of_the_handshake_leaves_nothing_behind(secure):
    lease = secure()
    said = client_hello()
    for end in range(0, len(said), 7):
        wire = Wire(lease.address())
        wire.send(said[:end])
        wire.reset()
    for _ in range(20):
        wire = Wire(lease.address())
        wire.send(said)
        wire.sock.recv(1)
        wire.reset()
    assert hello(lease).status == 200


def test_a_flood_of_handshakes_does_not_hold_up_who_is_there(secure):
    """200 hellos come at once, ten times; a client that asks for something behind them is answered between them."""
    lease = secure(shards=1)
    said = client_hello()
    there = Wire(lease.address(), tls=tls.trusting())
    shares, delays = [], []
    for _ in range(10):
        strangers = [Wire(lease.address()) for _ in range(200)]
        assert there.request("GET", "/ws/hello").status == 200
        for stranger in strangers:
            stranger.send(said)
        began = time.monotonic()
        assert there.request("GET", "/ws/hello").status == 200
        answered = time.monotonic()
        for stranger in strangers:
            assert stranger.sock.recv(1) == b"\x16", "each gets its turn"
        ended = time.monotonic()
        delays.append(answered - began)
        shares.append(delays[-1] / (ended - began))
        for stranger in strangers:
            stranger.reset()
    there.close()
    print(f"answered after {statistics.median(delays) * 1000:.1f} ms, {max(delays) * 1000:.1f} ms at most")
    assert statistics.median(shares) < 0.5, shares


def test_a_stop_does_not_wait_for_handshakes(secure):
    lease = secure(sets=["app:gateway:timeouts.drain=8s"])
    wire = Wire(lease.address())
    wire.send(client_hello()[:50])
    lease.server.stop(deadline=6)
    wire.close()


# Certificates of clients


def mutual(secure, auth=None):
    sets = [f"app:gateway:tls.client_ca={tls.authority().path}"]
    sets += [f"app:gateway:tls.client_auth={auth}"] if auth else []
    return secure(sets=sets)


def known():
    """A certificate of ours for a client, with what a handler is to see of it."""
    cert, key = tls.authority().issue("alice", ORGANIZATION_NAME="Smith, Sons")
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    seen = {"subject": "O=Smith\\, Sons,CN=alice", "fingerprint": hashlib.sha256(der).hexdigest()}
    return (cert, key), seen


@pytest.mark.parametrize("auth", [None, "require", "optional"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handler_sees_whose_certificate_was_accepted(secure, auth, version):
    lease = mutual(secure, auth)
    certificate, seen = known()
    context = tls.authority().context(certificate, minimum_version=version, maximum_version=version)
    assert hello(lease, context).json()["certificate"] == seen


def refused(lease, context, **options):
    """Whether a handshake fails: TLS 1.3 tells a client so only when it reads."""
    try:
        with shaken(lease, context, **options) as sock:
            sock.sendall(b"GET /ws/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return sock.recv(4096) == b""
    except OSError:
        return True


def test_without_a_certificate_of_ours_nobody_gets_in_where_one_is_required(secure):
    lease = mutual(secure)
    stranger = tls.Authority("somebody else")
    assert refused(lease, tls.trusting())
    assert refused(lease, tls.authority().context(stranger.issue("alice")))
    assert refused(lease, tls.authority().context(tls.authority().issue("alice", days=-1)))
    certificate, seen = known()
    assert hello(lease, tls.authority().context(certificate)).json()["certificate"] == seen


def test_where_one_is_optional_none_is_fine_and_a_wrong_one_is_not(secure):
    lease = mutual(secure, "optional")
    assert hello(lease).json()["certificate"] == "none"
    stranger = tls.Authority("somebody else")
    assert refused(lease, tls.authority().context(stranger.issue("alice")))


# New certificates


def test_sighup_takes_a_new_certificate_and_open_connections_live_on(secure, tmp_path):
    lease = secure()
    before = serial(lease)
    wire = RawSocket(lease.address(), tls=tls.trusting())
    assert wire.request("GET", "/ws/hello").status == 200
    tls.authority().issue(folder=tmp_path, stem="server")
    lease.server.child.send_signal(1)
    lease.wait_log(lambda record: "new certificate" in record["message"], what="a new certificate")
    assert serial(lease) != before
    assert wire.request("GET", "/ws/hello").status == 200
    assert int(wire.sock.getpeercert()["serialNumber"], 16) == before
    wire.close()


def test_a_new_certificate_is_found_without_being_told(secure, tmp_path):
    lease = secure()
    before = serial(lease)
    tls.authority().issue(folder=tmp_path, stem="server")
    until(lambda: serial(lease) != before, "the new certificate is used", 40)


def test_a_wrong_new_certificate_is_told_once_and_changes_nothing(secure, tmp_path):
    lease = secure()
    before = serial(lease)
    cert = tmp_path / "server.pem"
    good = cert.read_text()
    cert.write_text("this is no certificate\n")
    lease.server.child.send_signal(1)
    lease.wait_fault("the old one stays", "holds no certificate")
    assert serial(lease) == before
    # A certificate whose key has not come yet, as whoever renews them may leave it for a moment.
    other, other_key = tls.authority().issue()
    cert.write_text(other.read_text())
    lease.server.child.send_signal(1)
    lease.wait_fault("the old one stays", "is not the key of the certificate")
    assert serial(lease) == before
    shutil.copy(other_key, tmp_path / "server-key.pem")
    lease.server.child.send_signal(1)
    until(lambda: serial(lease) != before, "key and certificate fit again", 40)
    cert.write_text(good)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_new_client_ca_refuses_the_clients_of_the_old_one_and_lets_its_own_in(secure, tmp_path, version):
    """Those who are there stay; a session of before does not bring an old one back in."""
    old, new = tls.Authority("the old one"), tls.Authority("the new one")
    ca = tmp_path / "clients.pem"
    shutil.copy(old.path, ca)
    lease = secure(sets=[f"app:gateway:tls.client_ca={ca}"])
    certificates = [authority.issue("alice") for authority in (old, new)]
    contexts = [tls.authority().context(one, minimum_version=version, maximum_version=version) for one in certificates]
    assert hello(lease, contexts[0]).json()["certificate"]["subject"] == "CN=alice"
    assert refused(lease, contexts[1])
    with shaken(lease, contexts[0]) as sock:
        sock.sendall(b"GET /ws/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.recv(4096)
        session = sock.session
    wire = RawSocket(lease.address(), tls=contexts[0])
    assert wire.request("GET", "/ws/hello").status == 200

    shutil.copy(new.path, tmp_path / "fresh.pem")
    (tmp_path / "fresh.pem").replace(ca)
    lease.server.child.send_signal(1)
    until(lambda: not refused(lease, contexts[1]), "the new authority counts", 40)
    assert hello(lease, contexts[1]).json()["certificate"]["subject"] == "CN=alice"
    assert refused(lease, contexts[0])
    assert refused(lease, contexts[0], session=session)
    assert wire.request("GET", "/ws/hello").status == 200, "who is there stays"
    wire.close()


def test_a_client_of_before_the_new_certificate_comes_back_with_a_whole_handshake(secure, tmp_path):
    lease = secure()
    context = tls.authority().context()
    with shaken(lease, context) as sock:
        sock.sendall(b"GET /ws/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.recv(4096)
        session = sock.session
    before = serial(lease)
    tls.authority().issue(folder=tmp_path, stem="server")
    lease.server.child.send_signal(1)
    until(lambda: serial(lease) != before, "the new certificate is used", 40)
    with shaken(lease, context, session=session) as sock:
        assert not sock.session_reused


# Configuration


def checked(folder, *sets):
    out = moonwire("check", folder(GOOD), *(part for item in sets for part in ("--set", item)))
    return out.returncode, out.stdout + out.stderr


def test_what_is_wrong_with_a_certificate_is_said_before_anything_runs(folder):
    cert, key = tls.authority().issue()
    _, other_key = tls.authority().issue()
    service = "app:gateway:tls"
    cases = [
        ([f"{service}.cert={key}", f"{service}.key={key}"], "tls.cert", "holds a private key and no certificate"),
        ([f"{service}.cert={cert}", f"{service}.key={cert}"], "tls.key", "holds a certificate and no private key"),
        ([f"{service}.cert={cert}", f"{service}.key={other_key}"], "tls.key", "is not the key of the certificate"),
        ([f"{service}.cert={cert.parent}", f"{service}.key={key}"], "tls.cert", "is no file"),
        ([f"{service}.cert={cert}x", f"{service}.key={key}"], "tls.cert", "does not exist"),
        ([*tls.settings(), f"{service}.client_ca={key}"], "tls.client_ca", "holds a private key and no certificate"),
        ([*tls.settings(), f"{service}.client_auth=require"], "tls.client_auth", "tls.client_ca is missing"),
    ]
    for sets, field, fault in cases:
        code, said = checked(folder, *sets)
        assert code == 2 and field in said and fault in said, said
    assert checked(folder, *tls.settings())[0] == 0


def test_a_key_behind_a_passphrase_is_told_from_no_key(folder, tmp_path):
    from cryptography.hazmat.primitives import serialization

    cert, _ = tls.authority().issue()
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        tls.authority().key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    code, said = checked(folder, f"app:gateway:tls.cert={cert}", f"app:gateway:tls.key={locked}")
    assert code == 2 and "behind a passphrase" in said


def test_a_certificate_that_has_expired_is_a_warning(folder):
    code, said = checked(folder, *tls.settings(certificate=tls.authority().issue(days=-1)))
    assert code == 0
    assert "warning" in said and "has expired on" in said


def test_the_environment_may_hold_the_pem_itself(folder, monkeypatch):
    cert, key = tls.authority().issue()
    index = GOOD.replace(
        "    addr: 127.0.0.1:0\n", "    addr: 127.0.0.1:0\n    tls: { cert: '${env:CERT}', key: '${env:KEY}' }\n"
    )
    env = {"CERT": cert.read_text(), "KEY": key.read_text()}
    server = Server(folder(index), env=env).wait_ready()
    try:
        assert fetch(server.addresses["app:gateway"], "GET", "/ws/hello", tls=tls.trusting()).status == 200
        assert not any("PRIVATE" in line for line in [*server.out, *(record.line for record in server.log)])
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read_is_said(folder):
    cert, key = tls.authority().issue()
    key.chmod(0)
    code, said = checked(folder, f"app:gateway:tls.cert={cert}", f"app:gateway:tls.key={key}")
    assert code == 2 and "cannot be read" in said
