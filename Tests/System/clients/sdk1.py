"""The MCP Python SDK 1.x, unmodified: lists, calls, is refused. Arguments: URL TOKEN MODE (always legacy)."""
import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url, token, mode):
    async with streamablehttp_client(url, headers={"Authorization": f"Bearer {token}"}) as (read, write, _):
        async with ClientSession(read, write) as session:
            await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            echo = await session.call_tool("echo", {"text": "hello"})
            denied = await session.call_tool("add", {"a": 5000, "b": 1})
            return {
                "tools": tools,
                "echo": echo.content[0].text,
                "denied": {"isError": denied.isError, "text": denied.content[0].text},
            }


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
