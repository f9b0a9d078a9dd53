"""`limpid mcp`: the tools for an agent on this machine."""

from __future__ import annotations

from api.console import CollectionOption, Console, IndexOption, ModelOption, QuietOption, settings_from


def mcp(
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Answer an agent over MCP on stdin and stdout; agents start it themselves.

    It holds an embedded index only while a call runs, and asks the `limpid serve` that holds it where there is one.
    """
    settings = settings_from(index=index, collection=collection, model=model)
    from api.tools.stdio import serve

    serve(settings, Console(quiet=quiet).note)
