"""A token server for docker-registry, for tests: run by an interpreter that has PyJWT and cryptography.

    python token_server.py PORT FOLDER ACCOUNTS [SECONDS]

It writes `token.crt` into FOLDER (docker-registry's `rootcertbundle`), appends each token that it issues to
`issued.txt` there, and takes ACCOUNTS, JSON of user names and passwords. Who signs in may pull and push; who
doesn't may do nothing. Where FOLDER holds `rights.json`, that decides: JSON of user names, of what their
repositories' names begin with, and of actions, read anew for each token. Where it holds `accounts.json`, that
counts in place of ACCOUNTS, and is read anew as well. Tokens live for SECONDS, 300 if not given.

Specification: distribution.github.io, "Token Authentication Specification" and "Implementation".
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ISSUER = "tests"


class Signer:
    """A key for this process, and its certificate for docker-registry."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        self._certificate = (
            x509.CertificateBuilder(
                name, name, self._key.public_key(), x509.random_serial_number(), now - day, now + day
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        (folder / "token.crt").write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def token(self, claims: dict[str, object]) -> str:
        encoded = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        return str(jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": [encoded]}))


class TokenServer(ThreadingHTTPServer):
    """The state that all requests share."""

    def __init__(self, port: int, folder: Path, accounts: dict[str, str], seconds: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.signer = Signer(folder)
        self.issued = folder / "issued.txt"
        self.rights = folder / "rights.json"
        self._accounts = accounts
        self._changed_accounts = folder / "accounts.json"
        self.seconds = seconds

    def knows(self, user: str, password: str) -> bool:
        """Whether this is the user's password now."""
        accounts = self._accounts
        if self._changed_accounts.exists():
            accounts = json.loads(self._changed_accounts.read_text())
        return accounts.get(user) == password

    def access(self, scope: str, user: str) -> dict[str, object]:
        """The granted part of `scope`: `repository:acme/hello:pull,push`."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        granted = [action for action in actions.split(",") if user and self._grants(user, name, action)]
        return {"type": kind, "name": name, "actions": granted}

    def _grants(self, user: str, name: str, action: str) -> bool:
        if not self.rights.exists():
            return True
        rights = json.loads(self.rights.read_text()).get(user, {})
        return any(name.startswith(start) and action in actions for start, actions in rights.items())


class Handler(BaseHTTPRequestHandler):
    """`GET /token?service=…&scope=…`, with Basic credentials or without."""

    server: TokenServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        user, known = self._user()
        if not known:
            self._answer(
                401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user name or password"}]}
            )
            return
        now = int(time.time())
        token = self.server.signer.token(
            {
                "iss": ISSUER,
                "sub": user,
                "aud": query.get("service", [""])[0],
                "iat": now,
                "nbf": now - 5,
                "exp": now + self.server.seconds,
                "jti": uuid.uuid4().hex,
                "access": [
                    self.server.access(scope, user) for scope in " ".join(query.get("scope", [])).split()
                ],
            }
        )
        with self.server.issued.open("a") as issued:
            issued.write(token + "\n")
        self._answer(200, {"token": token, "expires_in": self.server.seconds})

    def _user(self) -> tuple[str, bool]:
        """The user name ("" for anonymous callers), and whether the password is right."""
        header = self.headers.get("Authorization")
        if header is None:
            return "", True
        try:
            pair = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "", False
        user, _, password = pair.partition(":")
        return user, self.server.knows(user, password)

    def _answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: str, folder: str, accounts: str, seconds: str = "300") -> None:
    TokenServer(int(port), Path(folder), json.loads(accounts), int(seconds)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
