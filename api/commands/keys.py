"""Keys of the HTTP API: make, list, revoke. A running server follows at once, since it reads the same file."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, QuietOption, settings_from

if TYPE_CHECKING:
    from api.serving.keys import Key, KeyFile
    from core.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class Role(StrEnum):
    """What a key may do; each what those before it may."""

    read = "read"
    write = "write"
    admin = "admin"


@app.callback()
def keys() -> None:
    """Make, list and revoke keys of the HTTP API."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the key, such as whom it is for.")],
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose documents. [the index itself]")] = "",
    role: Annotated[Role, typer.Option("--role", help="read, write (documents too) or admin.")] = Role.read,
    rate: Annotated[
        int | None, typer.Option("--rate", metavar="N", help="Requests a minute. [the setting rate_per_minute]")
    ] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a key and print its secret, this once: only a hash of it is kept."""
    console = Console(as_json, quiet)
    file = _file(settings_from(index=index, collection=collection))
    secret = file.add(name, tenant, role.value, rate)
    made = next(key for key in file.read() if key.name == name)
    if as_json:
        console.result({**_described(made), "secret": secret, "file": str(file.path)})
        return
    console.say(secret)
    console.note("This is the only time that the key is shown: keep it now. From here on every request needs a key.")


@app.command("list")
def list_keys(
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the keys, without their secrets, which are kept nowhere."""
    from api.serving.keys import parse_keys

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection)
    file = _file(settings)
    found = file.read()
    n_set = len(parse_keys(settings.api_keys))
    if as_json:
        console.result({"keys": [_described(key) for key in found], "file": str(file.path), "in_setting": n_set})
        return
    for key in found:
        rate = f"{key.rate:,}/min" if key.rate else ""
        console.say(f"{key.name:<20} {key.role:<6} {key.tenant or '-':<16} {rate:<10} {key.created}")
    console.say(f"{len(found):,} keys in {file.path}" + (f", {n_set:,} more in LIMPID_API_KEYS" if n_set else ""))


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")],
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a key back: a running server refuses it from its next request on.

    After the last one nothing opens a server but the keys of LIMPID_API_KEYS; removing the file unlocks the next start.
    """
    console = Console(as_json, quiet)
    _file(settings_from(index=index, collection=collection)).revoke(name)
    if as_json:
        console.result({"revoked": name})
    console.say(f"Revoked: {name}")


def _file(settings: Settings) -> KeyFile:
    from api.serving.keys import KeyFile, keys_file

    return KeyFile(keys_file(settings))


def _described(key: Key) -> dict:
    return {name: value for name, value in asdict(key).items() if name != "digest"}
