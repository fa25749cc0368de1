"""Real MCP servers for the end-to-end tests, on the SDK that runs this file (2.x speaks both eras, 1.x the older one).

    servers.py lab PORT LOG        echo, add, slow, fail, progress, delete_everything; appends a line to LOG for each execution
    servers.py time PORT LOG        the tools of mcp-server-time, served over HTTP
"""
import asyncio
import json
import os
import subprocess
import sys
import time

KIND, PORT, LOG = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def recorded(text):
    """Whether the intent of the call with this trace id is committed, asked while the call runs. For the chaos test."""
    query = f"select count(*) from record where kind = 'intent' and convert_from(body, 'UTF8') like '%{text}%'"
    for _ in range(300):
        done = subprocess.run(["psql", "-At", os.environ["CHECK_DATABASE"], "-c", query], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip() == "1"
        time.sleep(0.2)  # PostgreSQL was killed: what it committed is there when it is back.
    return False


def ran(tool, **facts):
    with open(LOG, "a") as log:
        log.write(json.dumps({"tool": tool, "at": time.time(), **facts}) + "\n")
        log.flush()


def lab_server():
    try:
        from mcp.server import MCPServer as Server  # 2.x
    except ImportError:
        from mcp.server.fastmcp import FastMCP as Server  # 1.x
    server = Server("lab")

    @server.tool()
    def echo(text: str) -> str:
        """Gives the text back."""
        if "CHECK_DATABASE" in os.environ:
            ran("echo", text=text, recorded=recorded(text))
        else:
            ran("echo", text=text)
        return text

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds two integers."""
        ran("add", a=a, b=b)
        return a + b

    @server.tool()
    async def slow(seconds: float) -> str:
        """Takes its time."""
        ran("slow", seconds=seconds)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ran("slow-cancelled")
            raise
        return "done"

    @server.tool()
    def fail(reason: str) -> str:
        """Fails."""
        ran("fail")
        raise ValueError(reason)

    @server.tool()
    def delete_everything(confirm: bool) -> str:
        """Deletes everything."""
        ran("delete_everything")
        return "gone"

    return server


def time_server():
    """The tools of mcp-server-time behind the SDK's HTTP transport."""
    from mcp.server import MCPServer
    from mcp_server_time.server import TimeServer

    server, clock = MCPServer("time"), TimeServer()

    @server.tool()
    def get_current_time(timezone: str) -> str:
        """Current time in a timezone."""
        ran("get_current_time", timezone=timezone)
        return json.dumps(clock.get_current_time(timezone).model_dump())

    @server.tool()
    def convert_time(source_timezone: str, time: str, target_timezone: str) -> str:
        """Converts a time between timezones."""
        ran("convert_time")
        return json.dumps(clock.convert_time(source_timezone, time, target_timezone).model_dump())

    return server


def main():
    import uvicorn

    server = lab_server() if KIND == "lab" else time_server()
    app = server.streamable_http_app()
    # Said once the port is bound, so that nobody has to guess.
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")


if __name__ == "__main__":
    main()
