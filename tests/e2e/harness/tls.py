"""Certificates of an authority that lives as long as the tests do, and clients that trust it.

With `MOONWIRE_E2E_TLS=1` every server of every test speaks TLS, and so do the clients of the
harness: the suites of the relay are then suites of `wss`.
"""

import datetime
import ipaddress
import os
import select
import socket
import ssl
import tempfile
import threading
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

EVERYWHERE = os.environ.get("MOONWIRE_E2E_TLS") == "1"


class Authority:
    """Signs certificates for 127.0.0.1 and localhost, and writes them to files."""

    def __init__(self, name="Moonwire test authority"):
        self.held = tempfile.TemporaryDirectory(prefix="moonwire-tls-")
        self.folder = Path(self.held.name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        builder = _builder(self.name, self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.cert = builder.sign(self.key, hashes.SHA256())
        self.path = self.folder / "ca.pem"
        self.path.write_bytes(_pem(self.cert))

    def issue(self, name="localhost", days=30, folder=None, stem=None, **more):
        """A certificate: the paths of its file and of its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name, **more)
        builder = _builder(subject, self.name, key, days).add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        cert = builder.sign(self.key, hashes.SHA256())
        folder, stem = Path(folder or self.folder), stem or f"{cert.serial_number:x}"
        paths = folder / f"{stem}.pem", folder / f"{stem}-key.pem"
        for path, text in zip(paths, (_pem(cert), _key(key))):
            # As those do that renew certificates: nobody sees half of a file.
            fresh = path.with_suffix(".fresh")
            fresh.write_bytes(text)
            fresh.replace(path)
        return paths

    def context(self, certificate=None, **settings):
        """A client that trusts this authority, maybe with a certificate of its own."""
        context = ssl.create_default_context(cafile=str(self.path))
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        for name, value in settings.items():
            setattr(context, name, value)
        return context


@cache
def authority():
    """The one authority of this process."""
    return Authority()


@cache
def _certificate():
    return authority().issue()


@cache
def trusting():
    """A client that trusts it."""
    return authority().context()


def settings(service="app:gateway", certificate=None):
    """What `--set` has to say for a service to speak TLS."""
    cert, key = certificate or _certificate()
    return [f"{service}:tls.cert={cert}", f"{service}:tls.key={key}"]


def everywhere(services):
    """The same for all services, if they are all to speak it."""
    return [item for service in services for item in settings(service)] if EVERYWHERE else []


def pumped(address, context):
    """A socket in the clear, behind which a thread speaks TLS to `address`.

    The `websockets` package reads in one thread and writes in another, which Python's own TLS
    sockets do not stand: what is written then may never leave.
    """
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ours, theirs = socket.socketpair()
    threading.Thread(target=_pump, args=(sock, theirs, context), daemon=True).start()
    return ours


def _pump(sock, clear, context):
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, to_send, server_hostname="localhost")

    def moved(step):
        """One step of TLS; what it has to say goes out before anything else."""
        try:
            return step()
        except ssl.SSLWantReadError:
            return None
        finally:
            if to_send.pending:
                sock.sendall(to_send.read())

    def shake():
        tls.do_handshake()
        return True

    try:
        shaken = moved(shake)
        while True:
            watched = [sock, clear] if shaken else [sock]
            readable, _, _ = select.select(watched, [], [])
            if sock in readable:
                data = sock.recv(65536)
                received.write(data) if data else received.write_eof()
                shaken = shaken or moved(shake)
                while shaken and (plain := moved(lambda: tls.read(65536))) is not None:
                    if not plain:
                        clear.shutdown(socket.SHUT_WR)
                        return
                    clear.sendall(plain)
            if clear in readable:
                data = clear.recv(65536)
                if not data:
                    return
                moved(lambda: tls.write(data))
    except OSError:
        # The end of either side is the end of both, as of a socket that broke.
        pass
    finally:
        sock.close()
        clear.close()


def _name(common, **more):
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    parts += [x509.NameAttribute(getattr(NameOID, oid), value) for oid, value in more.items()]
    return x509.Name(parts)


def _builder(subject, issuer, key, days=30):
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 60 * day)
        .not_valid_after(now + days * day)
    )


def _pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def _key(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
