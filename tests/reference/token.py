"""The slow twin of rust_ext.token: the `blake3` package, base64 and a dict."""

import base64

from blake3 import blake3 as _blake3

from ghostwire.errors import AuthenticationError


class TokenTable:
    def __init__(self, key: bytes) -> None:
        self._key = key
        self._entries: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def mac(self, token: str) -> bytes:
        return keyed_blake3(self._key, decode(token))

    def insert(self, mac: bytes, subject: int, expires: int) -> None:
        self._entries[mac] = (subject, expires)

    def remove(self, mac: bytes) -> bool:
        return self._entries.pop(mac, None) is not None

    def check(self, token: str, now: int) -> int:
        subject, expires = self._entries.get(self.mac(token), (0, None))
        if expires is None:
            raise AuthenticationError("the token is unknown")
        if now >= expires:
            raise AuthenticationError("the token has expired")
        return subject

    def sweep(self, now: int) -> list[bytes]:
        gone = [mac for mac, (_, expires) in self._entries.items() if now >= expires]
        for mac in gone:
            del self._entries[mac]
        return gone


def encode(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def decode(text: str) -> bytes:
    try:
        token = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except ValueError:
        token = b""
    if len(token) != 32 or encode(token) != text:
        raise AuthenticationError("the token is malformed: expected 43 characters of URL-safe base64")
    return token


def blake3(data: bytes) -> bytes:
    return _blake3(data).digest()


def keyed_blake3(key: bytes, data: bytes) -> bytes:
    return _blake3(data, key=key).digest()


def derive_key(context: str, material: bytes) -> bytes:
    return _blake3(material, derive_key_context=context).digest()
