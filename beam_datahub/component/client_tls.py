"""TLS as a client speaks it, with the files that a connection names."""

from __future__ import annotations

import ssl

from beam_datahub.errors import AccessDenied


def client_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """The system's authorities or those of the file `ca`, and our own certificate where there is one.

    Raises AccessDenied where a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        raise AccessDenied(f"the TLS files cannot be used: {error}", hint="look at the `tls_…` files") from error
    return context
