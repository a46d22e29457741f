"""A private authority, and what it has signed for one server, as a service of one's own has it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def made(certificate: Path, *names: str) -> ssl.SSLContext:
    """Write the certificate of a new authority there; what a server takes that has one of it.

    The server's is for 127.0.0.1 and these names and addresses; it shows its own alone, so that whoever does
    not know the authority cannot have it from the server.
    """
    # Two authorities of one name are taken for each other.
    serial = x509.random_serial_number()
    root = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"lab {serial}")])
    server = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a server of the lab")])
    authority_key, server_key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    authority = (
        _begun(root, root, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    signed = (
        _begun(server, root, server_key.public_key())
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ip_address("127.0.0.1")), *map(_general_name, names)]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    certificate.write_bytes(authority.public_bytes(Encoding.PEM))
    chain = certificate.with_suffix(".server")
    chain.write_bytes(
        signed.public_bytes(Encoding.PEM)
        + server_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def _begun(of: x509.Name, by: x509.Name, key: object) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(by, of, key, x509.random_serial_number())  # type: ignore[arg-type]
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # type: ignore[arg-type]
    )


def _usage(*what: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in what for name in USAGES})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
