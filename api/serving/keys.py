"""API keys: who may do what, for which tenant. Only their hashes are kept."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from pydantic import SecretStr, TypeAdapter, ValidationError

from core.errors import ConfigError, InputError, NotFound
from core.settings import TENANTS, Settings

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do all that those before it may
TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
PREFIX = "limpid_"
OWNER_ONLY = 0o600
N_BYTES = 32  # of randomness: far beyond guessing, so a plain SHA-256 is as safe as a slow hash
_logger = logging.getLogger("limpid.keys")


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key: `digest` is the SHA-256 of its secret, in hex.

    `tenant` is empty for the index itself. `rate` is how many requests it may send in a minute, None for the setting.
    """

    name: str
    digest: str
    tenant: str = ""
    role: Role = "read"
    rate: int | None = None
    created: str = ""

    def may(self, role: Role) -> bool:
        """Whether it may do what takes `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


ANYONE = Key("anyone", "", role="admin")  # on a server without keys
THIS_MACHINE = "this machine"  # the name of the key that a server leaves for the commands of its own user
_FILED = TypeAdapter(list[Key])


def parse_keys(setting: SecretStr | None) -> tuple[Key, ...]:
    """The keys of a comma-separated setting, none where it is unset or empty: `SECRET`, or `TENANT:SECRET`.

    A secret alone opens the index itself, for everything; one with a tenant reads and writes that tenant's documents.
    Raises `ConfigError` for a setting of blanks and commas: it was meant to lock, and would not.
    """
    text = setting.get_secret_value() if setting else ""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if text and not parts:
        raise ConfigError("api_keys is set but holds no key. Give at least one (LIMPID_API_KEYS=KEY), or unset it.")
    keys = []
    for number, part in enumerate(parts, 1):
        tenant, _, secret = part.rpartition(":")
        if tenant and not TENANT.fullmatch(tenant):
            raise ConfigError(f"api_keys: {_tenant_fault(tenant)}")
        if not secret:
            raise ConfigError(f"api_keys: key {number} has a tenant and no secret. Write TENANT:SECRET.")
        if any(key.digest == digest_of(secret) for key in keys):
            raise ConfigError(f"api_keys: key {number} has the secret of an earlier one. Give each its own.")
        keys.append(Key(f"setting-{number}", digest_of(secret), tenant, "write" if tenant else "admin"))
    return tuple(keys)


def digest_of(secret: str) -> str:
    """SHA-256 of a key's secret, in hex."""
    return sha256(secret.encode()).hexdigest()


def keys_file(settings: Settings) -> Path:
    """Where `limpid keys` keeps them: in the folder of an embedded index, else in the working folder."""
    if settings.keys_file:
        return settings.keys_file
    return Path("limpid-keys.json") if settings.is_server else Path(settings.index) / "keys.json"


class KeyFile:
    """The keys in a file that only its owner can read. One process changes it at a time."""

    def __init__(self, path: Path):
        """The file need not exist."""
        self.path = path

    def read(self) -> list[Key]:
        """All keys, in the order in which they were made. Raises `ConfigError` where the file can't be read."""
        try:
            keys = _FILED.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            told = error.strerror if isinstance(error, OSError) else "it doesn't hold a list of keys"
            raise self._unreadable(told) from None
        for key in keys:  # a tenant names a folder: whoever has edited the file by hand must not lead out of the index'
            if key.tenant and not TENANT.fullmatch(key.tenant):
                raise self._unreadable(_tenant_fault(key.tenant))
        return keys

    def add(self, name: str, tenant: str, role: Role, rate: int | None) -> str:
        """Make a key and return its secret, which is kept nowhere. Raises `InputError` for a taken or unusable name."""
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise InputError("A key's name has 1 to 100 printable characters, and not only blanks.")
        if name == THIS_MACHINE:
            raise InputError(f"{name!r} is what a server calls its own commands. Choose another name.")
        if tenant and not TENANT.fullmatch(tenant):
            raise InputError(_tenant_fault(tenant))
        if rate is not None and rate < 1:
            raise InputError(f"The rate is {rate}; a key may send at least 1 request in a minute.")
        with self._changing() as keys:
            if any(key.name == name for key in keys):
                raise InputError(f"There is a key named {name!r} already. Choose another name, or revoke that one.")
            secret = PREFIX + secrets.token_urlsafe(N_BYTES)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            keys.append(Key(name, digest_of(secret), tenant, role, rate, now))
        return secret

    def revoke(self, name: str) -> None:
        """Remove a key. Raises `NotFound` where no key has that name."""
        with self._changing() as keys:
            kept = [key for key in keys if key.name != name]
            if len(kept) == len(keys):
                raise NotFound(f"There is no key named {name!r}. `limpid keys list` shows them.")
            keys[:] = kept

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, to be changed in place; written when the block ends without an error."""
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, OWNER_ONLY)
        except OSError as error:
            raise ConfigError(f"The keys can't be written to {self.path}: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.read()
            yield keys
            self._write(keys)
        finally:
            os.close(lock)  # which lets go of it

    def _write(self, keys: list[Key]) -> None:
        """Replace the file in one step, so that whoever reads sees either all of the old keys or all of the new."""
        made = self._beside(".new")
        try:
            made.unlink(missing_ok=True)  # left by a process that was killed, with whatever mode it had
            handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump([asdict(key) for key in keys], file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # a revoked key must not come back with a power cut
            finally:
                os.close(folder)
        except OSError as error:
            raise ConfigError(f"The keys can't be written to {self.path}: {error.strerror}.") from None

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _unreadable(self, told: str) -> ConfigError:
        return ConfigError(f"The keys in {self.path} can't be read: {told}. Restore the file.")


class KeyRing:
    """The keys that a server accepts: those of the setting, and those of the file as it is now."""

    def __init__(self, settings: Settings, secret: str = ""):
        """`secret` is a key for everything that locks nothing. Raises `ConfigError` where keys can't be read."""
        self._given = parse_keys(settings.api_keys)
        self._own = (Key(THIS_MACHINE, digest_of(secret), role="admin"),) if secret else ()
        self._file = KeyFile(keys_file(settings))
        self._seen = self._stamp()
        self._keys = self._by_digest(self._file.read())
        self._is_locked = bool(self._given) or self._seen is not None

    @property
    def is_locked(self) -> bool:
        """Whether a request needs a key. Once it does it stays so: a file that vanishes opens nothing."""
        self._refresh()
        return self._is_locked

    def find(self, secret: str) -> Key | None:
        """The key with this secret. Digests are looked up, so that the time tells nothing of any secret."""
        self._refresh()
        return self._keys.get(digest_of(secret)) if secret else None

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        self._is_locked = True
        try:
            self._keys = self._by_digest(self._file.read())
        except ConfigError as error:
            _logger.error("Only the setting's keys are accepted: %s", error)
            self._keys = self._by_digest([])

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self._file.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def _by_digest(self, filed: list[Key]) -> Mapping[str, Key]:
        return {key.digest: key for key in (*filed, *self._given, *self._own)}


def _tenant_fault(tenant: str) -> str:
    return (
        f"{tenant!r} can't name a tenant: use up to 63 of a-z, 0-9, - and _, with a letter or digit first, "
        "such as acme-eu."
    )


def tenant_settings(settings: Settings, tenant: str) -> Settings:
    """The settings of a tenant's own index: a folder inside the index' folder, or a collection beside its collection.

    What tenants could learn of one another by sharing it isn't shared: remembered vectors and the query log. Each
    index keeps to what it was made with, whatever the server's own is made with by now.
    """
    if not tenant:
        return settings
    own: dict[str, object] = {"vector_cache_mb": 0, "query_log": None}
    if settings.is_server:
        own["collection"] = f"{settings.collection}--{tenant}"
    else:
        own["index"] = str(Path(settings.index) / TENANTS / tenant)
    return settings.model_copy(update=own).without_index_choices()
