"""The MCP Python SDK 2.x, unmodified: lists, calls, is refused. Arguments: URL TOKEN MODE."""
import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url, token, mode):
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            echo = await client.call_tool("echo", {"text": "hello"})
            denied = await client.call_tool("add", {"a": 5000, "b": 1})
            return {
                "tools": tools,
                "echo": echo.content[0].text,
                "denied": {"isError": denied.is_error, "text": denied.content[0].text},
            }


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
