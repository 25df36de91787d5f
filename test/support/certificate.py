# SPDX-License-Identifier: Apache-2.0
"""A self-signed certificate for tests of https; its key protects nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUF3UtarZcxf3hkFRNfmh2rTQSzyQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTIyNTEyMloYDzIxMjYxMTA1
MjI1MTIyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARvtpbnph7UABGuB0SAZxBS/g8jytHW/Yo4++dNmUmcAFN7Q6oWs41a
lIUxsZJ5DuJZGo6UkFNcSfpvglPJljyQo1MwUTAdBgNVHQ4EFgQUbCHDrHMGY5YM
i3CSJYDaDPa18cgwHwYDVR0jBBgwFoAUbCHDrHMGY5YMi3CSJYDaDPa18cgwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBnZr7OKrEOvprUDlvns/da
46DT1ENjwK+AYqICqji+GAIhANJrJ5M0+DNQPskd5wCtWzMLVA4B3y+7CDixJR39
HNJg
-----END CERTIFICATE-----
"""
_KEY: Final = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzrfEoI7SfeEJDY+C
PFa3hpjjMP9VDEALekjSiwHkUdChRANCAARvtpbnph7UABGuB0SAZxBS/g8jytHW
/Yo4++dNmUmcAFN7Q6oWs41alIUxsZJ5DuJZGo6UkFNcSfpvglPJljyQ
-----END PRIVATE KEY-----
"""


def write_certificate(folder: Path) -> tuple[str, str]:
    """Write the certificate and its key.

    Args:
        folder: Where the files are written.

    Returns:
        Their paths.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(_CERTIFICATE)
    key.write_text(_KEY)
    return str(certificate), str(key)
