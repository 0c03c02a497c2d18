"""A certificate that cannot be verified, and a proxy that fails, are named as such."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hubbleclip.archives.mast.client import MastClient
from hubbleclip.core.errors import ArchiveUnreachableError
from tests.archives.conftest import make_transport
from tests.bad_server import give


def write_certificate(path: Path) -> None:
    """Write a self-signed certificate of this machine, with its key."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    ).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem) + secret)


@pytest.fixture
def secure_url(tmp_path: Path) -> Iterator[str]:
    """Address of a server with a self-signed certificate."""
    write_certificate(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] - the client ends the handshake
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_certificate_that_cannot_be_verified_is_named(secure_url: str) -> None:
    with pytest.raises(ArchiveUnreachableError, match=r"certificate of localhost.*self.signed.*REQUESTS_CA_BUNDLE"):
        make_transport(attempts=2).get(secure_url)
    with pytest.raises(ArchiveUnreachableError, match="certificate of localhost"):
        MastClient(secure_url, make_transport(attempts=2)).count({"obs_collection": ["HST"]})


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "is_up"), [("http", False), ("https", False), ("https", True)])
def test_a_proxy_that_fails_or_refuses_is_named(
    scripted, scheme: str, is_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = scripted(give(b"")).host if is_up else "127.0.0.1:9"  # the server does not know CONNECT
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{proxy}")
    monkeypatch.setenv("no_proxy", "")
    words = r"Tunnel connection failed: 501.*" if is_up else ""
    with pytest.raises(
        ArchiveUnreachableError, match=rf"the proxy gives no connection to mast\.example.*{words}HTTPS_PROXY"
    ):
        make_transport(attempts=2).get(f"{scheme}://mast.example/hst")
