"""``authority.py FOLDER`` writes ca.pem, and signed by it site.pem and expired.pem, each a key and its certificate.

Run with the interpreter of a generated project, which has cryptography.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM
TODAY = datetime.now(UTC)


def builder(name: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begun = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    begun = begun.serial_number(x509.random_serial_number()).not_valid_before(TODAY - timedelta(days=100))
    return begun.not_valid_after(TODAY + timedelta(days=days))


folder, signer = Path(sys.argv[1]), ec.generate_private_key(ec.SECP256R1())
root = builder("A drill's authority", signer, 100)
root = root.issuer_name(root._subject_name).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
authority = root.sign(signer, hashes.SHA256())
(folder / "ca.pem").write_bytes(authority.public_bytes(PEM))
for pair, days in (("site", 60), ("expired", -2)):
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder("localhost", key, days).issuer_name(authority.subject).add_extension(names, critical=False)
    plain = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{pair}.pem").write_bytes(plain + signed.sign(signer, hashes.SHA256()).public_bytes(PEM))
