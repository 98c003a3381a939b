"""Makes the certificates of one job: an authority of its own, and one certificate for its workers.

The authority's key is never written: when the files are made nobody can sign another certificate.
"""

from __future__ import annotations

import datetime
import importlib
import os
from pathlib import Path
from typing import Any

from distflow.base import errors, tls

VALID_DAYS = 30


def make(folder: Path) -> None:
    """Writes the files of `distflow.base.tls` into a folder, readable for this user only.

    Raises:
      MissingExtraError: without the package `cryptography`.
    """
    try:
        x509 = importlib.import_module("cryptography.x509")
        hashes = importlib.import_module("cryptography.hazmat.primitives.hashes")
        serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
        ec = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ec")
    except ImportError as error:
        raise errors.missing_extra("cryptography", "tls", "--tls auto") from error

    def named(text: str) -> Any:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def certificate(subject: str, key: Any, issuer_key: Any, is_authority: bool) -> Any:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("distflow job"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
            .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if not is_authority:
            names = x509.SubjectAlternativeName([x509.DNSName(tls.NAME)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    authority_key, worker_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = certificate("distflow job", authority_key, authority_key, True)
    worker = certificate(tls.NAME, worker_key, authority_key, False)
    pem = serialization.Encoding.PEM
    key = worker_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    contents = (authority.public_bytes(pem), worker.public_bytes(pem), key)
    for name, content in zip(tls.FILES, contents):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
