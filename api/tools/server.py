"""The MCP server: the tools, and the documents as resources, over any source of answers.

It keeps nothing between requests. What it may tell of a failure is for whoever makes it to say: a process of the user's
own tells everything, a public server only what concerns the request.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote

import mcp_types as types
from anyio import to_thread
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from api.contexts import llm_tokenizer
from api.tools.calls import read_document
from api.tools.descriptions import INSTRUCTIONS, TOOLS, Tool
from api.tools.parameters import MOST_TOKENS, ReadParameters, schema_of
from api.tools.rendering import NOTICE, Answer, Budget, clipped
from api.tools.sources import Source
from core.errors import LimpidError
from core.settings import Settings

VERSION = "1"
ADDRESS = "limpid://documents/"
ENCODING = "o200k_base"
RESOURCES_TO_A_PAGE = 100
MOST_TITLE_CHARACTERS = 200
MOST_ERROR_CHARACTERS = 2_000
_logger = logging.getLogger("limpid.mcp")
Result = TypeVar("Result")


def make_server(
    settings: Settings,
    opened: Callable[[], AbstractContextManager[Source]],
    fields: Callable[[], dict[str, str]],
    tell: Callable[[LimpidError], str],
) -> Server:
    """An MCP server whose every call asks the source that `opened` gives.

    `fields` are the metadata fields that filters know, `tell` is what a client may read of an error.
    """
    made = _Tools(settings, opened, fields, tell)
    server = Server(
        "limpid",
        title="Limpid",
        version=VERSION,
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: schema_of(TOOLS[name].parameters, {}) if name in TOOLS else None,
        on_list_tools=made.list_tools,
        on_call_tool=made.call,
        on_list_resources=made.list_resources,
        on_list_resource_templates=made.list_templates,
        on_read_resource=made.read_resource,
    )
    server.middleware.clear()  # the SDK's traces would tell what was asked; those of `limpid serve` don't
    return server


class _Tools:
    """Handlers of requests; what takes time runs in a thread."""

    def __init__(
        self,
        settings: Settings,
        opened: Callable[[], AbstractContextManager[Source]],
        fields: Callable[[], dict[str, str]],
        tell: Callable[[LimpidError], str],
    ):
        self._settings = settings
        self._opened = opened
        self._fields = fields
        self._tell = tell

    async def list_tools(self, _: Any, __: Any) -> types.ListToolsResult:
        return await to_thread.run_sync(self._list_tools)

    async def call(self, _: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            told = f"There is no tool {clipped(params.name, 100)!r}; there are: {', '.join(TOOLS)}."
            raise MCPError(types.INVALID_PARAMS, told)
        return await to_thread.run_sync(self._call, tool, params.arguments or {})

    async def list_resources(self, _: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        return await self._asked(partial(self._list_resources, params.cursor if params else None))

    async def list_templates(self, _: Any, __: Any) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            name="document",
            title="A document's text",
            uri_template=ADDRESS + "{document_id}{?start}",
            description=f"At most {MOST_TOKENS:,} tokens from character start on; what follows is named beside it.",
            mime_type="text/plain",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(self, _: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return await self._asked(partial(self._read_resource, params.uri))

    async def _asked(self, ask: Callable[[], Result]) -> Result:
        """What `ask` gives, from a thread. Raises `MCPError` where it fails: these requests have no other answer."""
        try:
            return await to_thread.run_sync(ask)
        except Exception as error:
            raise MCPError(types.INVALID_PARAMS, self._told(error)) from None

    def _list_tools(self) -> types.ListToolsResult:
        try:
            fields = self._fields()
        except Exception as error:  # without an index there are still tools, which then say what is missing
            _logger.info("The index' fields can't be told: %r", error)
            fields = {}
        hints = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
        tools = [
            types.Tool(
                name=tool.name,
                title=tool.title,
                description=tool.description,
                input_schema=schema_of(tool.parameters, fields),
                annotations=hints,
            )
            for tool in TOOLS.values()
        ]
        return types.ListToolsResult(tools=tools)

    def _call(self, tool: Tool, arguments: dict[str, Any]) -> types.CallToolResult:
        try:
            asked = tool.parameters.model_validate(arguments)
            with self._opened() as source:
                answer = tool.call(source, asked, self._budget(asked.max_tokens))
        except Exception as error:
            return types.CallToolResult(content=[types.TextContent(text=self._told(error))], is_error=True)
        return types.CallToolResult(content=[types.TextContent(text=tool.form.text(answer))], structured_content=answer)

    def _list_resources(self, after: str | None) -> types.ListResourcesResult:
        with self._opened() as source:
            page = source.page(RESOURCES_TO_A_PAGE, after)
        resources = [
            types.Resource(
                name=clipped(found["title"] or found["id"], MOST_TITLE_CHARACTERS),
                uri=ADDRESS + quote(found["id"], safe=""),
                mime_type="text/plain",
            )
            for found in page["documents"]
        ]
        return types.ListResourcesResult(resources=resources, next_cursor=page["next"])

    def _read_resource(self, uri: str) -> types.ReadResourceResult:
        if not uri.startswith(ADDRESS):
            raise MCPError(types.INVALID_PARAMS, f"A document's address begins with {ADDRESS}, then its id follows.")
        name, _, query = uri.removeprefix(ADDRESS).partition("?")
        asked = ReadParameters(
            document_id=unquote(name), start=parse_qs(query).get("start", ["0"])[0], max_tokens=MOST_TOKENS
        )
        with self._opened() as source:
            answer = read_document(source, asked, self._budget(MOST_TOKENS))
        return types.ReadResourceResult(contents=_contents(f"{ADDRESS}{name}", uri, answer))

    def _budget(self, limit: int) -> Budget:
        return Budget(limit, llm_tokenizer(ENCODING, self._settings.cache_dir / "tiktoken").count)

    def _told(self, error: Exception) -> str:
        """What a client reads of a failure: what the request did wrong, or a reference to the log."""
        if isinstance(error, MCPError):
            told = error.message
        elif isinstance(error, ValidationError):
            faults = (f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}." for fault in error.errors())
            told = f"{' '.join(faults)} Correct the call."
        elif isinstance(error, LimpidError):
            told = self._tell(error)
        else:
            reference = uuid.uuid4().urn
            _logger.error("%s: %r", reference, error)
            told = f"The call failed unexpectedly. The log tells the operator why; the reference is {reference}."
        return told if len(told) <= MOST_ERROR_CHARACTERS else told[: MOST_ERROR_CHARACTERS - 1] + "…"


def _contents(address: str, uri: str, answer: Answer) -> list[types.TextResourceContents]:
    """A stretch of a document exactly as it stands there, and where it goes on if it does."""
    text = answer["passages"][0]["text"]
    contents = [types.TextResourceContents(uri=uri, mime_type="text/plain", text=text, meta={"limpid/notice": NOTICE})]
    if start := answer.get("next_start"):
        told = f"The document goes on at character {start}: read {address}?start={start}."
        contents.append(types.TextResourceContents(uri=f"{address}?start={start}", mime_type="text/plain", text=told))
    return contents
