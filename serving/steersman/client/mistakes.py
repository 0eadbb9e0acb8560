"""Mistakes in setting up TLS: what is likely wrong between client and server, and what to do about it.

To gRPC all of them are UNAVAILABLE, as if nobody were there. Most can be told by the words that it adds,
which are BoringSSL's. Of a connection that the server just closed they say nothing; `probing` asks then.
"""

from __future__ import annotations

from enum import StrEnum


class Mistake(StrEnum):
    """What is wrong; the value is the error's `reason`."""

    WANTS_TLS = "tls_wanted"
    """The server speaks TLS, the client does not."""
    SPEAKS_PLAIN = "tls_not_spoken"
    """The client speaks TLS, the server does not."""
    UNTRUSTED = "tls_server_untrusted"
    """The server's certificate is of no authority that the client believes."""
    OTHER_NAME = "tls_server_name"
    """The server's certificate is for other names than the one that it was called by."""
    NOT_VALID_NOW = "tls_server_expired"
    """The server's certificate has expired, or is for later."""
    NO_CERTIFICATE = "tls_client_certificate_missing"
    """The server wants a certificate of the client (mTLS), which has none."""
    REFUSES_CERTIFICATE = "tls_client_certificate_refused"
    """The server wants a certificate of the client, and ends the connection although one is shown."""
    UNUSABLE_PEM = "tls_files"
    """What the client was given as authority, certificate or key cannot be used."""

    def what(self, target: str) -> str:
        """What is wrong with the connection to `target`, in words."""
        return _WHAT[self].format(target=target)

    @property
    def lasts(self) -> bool:
        """Whether it is certain that another attempt ends alike; a server may end connections as it ends."""
        return self is not Mistake.REFUSES_CERTIFICATE

    @property
    def remedy(self) -> str:
        """What to do about it, in the words of `PolicyClient`."""
        return _REMEDY[self]


_WHAT = {
    Mistake.WANTS_TLS: "{target} speaks TLS, and this client plain text",
    Mistake.SPEAKS_PLAIN: "{target} does not speak TLS, and this client does",
    Mistake.UNTRUSTED: "the certificate of {target} is of no authority that this client believes",
    Mistake.OTHER_NAME: "the certificate of {target} is for another name",
    Mistake.NOT_VALID_NOW: "the certificate of {target} is not valid now: it has expired, or is for later",
    Mistake.NO_CERTIFICATE: "{target} wants a client's certificate (mTLS), and this client has none",
    Mistake.REFUSES_CERTIFICATE: "{target} wants a client's certificate (mTLS), and ended the connection",
    Mistake.UNUSABLE_PEM: "no connection to {target}: the client's authority, certificate or key is unusable",
}
_REMEDY = {
    Mistake.WANTS_TLS: "give ca= with the authority of its certificate, or credentials=",
    Mistake.SPEAKS_PLAIN: "leave out ca=, certificate=, key= and credentials=, or set tls_certificate and "
    "tls_key at the server; is it the right port?",
    Mistake.UNTRUSTED: "give ca= with the authority that issued it; a self-signed one is its own",
    Mistake.OTHER_NAME: "call the server by a name that its certificate has, or have one issued with this "
    "name as subjectAltName",
    Mistake.NOT_VALID_NOW: "renew it at the server, or set the clock of this host",
    Mistake.NO_CERTIFICATE: "give certificate= and key= of an authority in the server's tls_client_ca",
    Mistake.REFUSES_CERTIFICATE: "is certificate= of an authority in the server's tls_client_ca, and not "
    "expired?",
    Mistake.UNUSABLE_PEM: "give PEM, certificate and key of one pair",
}

_WORDS = {
    "WRONG_VERSION_NUMBER": Mistake.SPEAKS_PLAIN,
    "certificate has expired": Mistake.NOT_VALID_NOW,
    "certificate is not yet valid": Mistake.NOT_VALID_NOW,
    "CERTIFICATE_VERIFY_FAILED": Mistake.UNTRUSTED,  # after those two, which it is the family of
    "Hostname Verification Check failed": Mistake.OTHER_NAME,
    "Failed to create security handshaker": Mistake.UNUSABLE_PEM,
}
_NOT_CONNECTED = "failed to connect"
_SILENT_ENDS = ("Socket closed", "reset by peer", "Broken pipe", "Tls handshake failed")


def read_mistake(details: str) -> Mistake | None:
    """The mistake that gRPC's words for UNAVAILABLE tell of; None where they tell of none."""
    return next((mistake for words, mistake in _WORDS.items() if words in details), None)


def is_unclear(details: str) -> bool:
    """Whether the server was there, but closed the connection without saying why."""
    return details.startswith(_NOT_CONNECTED) and any(end in details for end in _SILENT_ENDS)
