"""Certificates of private CAs beside those that the image trusts, for every client of this process.

Each of them (httpx2, huggingface_hub, obstore) reads SSL_CERT_FILE, and then nothing else: so the file that
it names has both.
"""

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from kubeembed_api.names import CA_CERTIFICATES

IMAGE = "/etc/ssl/certs/ca-certificates.crt"


def trust_private_cas(environ: MutableMapping[str, str] = os.environ) -> None:
    """Of the file that CA_CERTIFICATES names, if it does. Raises OSError."""
    extra = environ.get(CA_CERTIFICATES)
    if not extra:
        return
    known = Path(environ.get("SSL_CERT_FILE") or IMAGE)
    bundle = Path(tempfile.mkdtemp(prefix="kubeembed-"), "ca-certificates.crt")
    bundle.write_text(f"{known.read_text()}\n{Path(extra).read_text()}\n")
    environ["SSL_CERT_FILE"] = str(bundle)
