"""The MCP server behind the door of `scripts/up`: a little shop of notes. Arguments: PORT FILE."""
import json
import pathlib
import sys

import uvicorn
from mcp.server import MCPServer

port, file = int(sys.argv[1]), pathlib.Path(sys.argv[2])
server = MCPServer("notes")


def notes():
    return json.loads(file.read_text()) if file.exists() else []


@server.tool()
def list_notes() -> list[str]:
    """Lists all notes."""
    return notes()


@server.tool()
def add_note(text: str) -> str:
    """Adds a note."""
    file.write_text(json.dumps([*notes(), text]))
    return f"{len(notes())} notes"


@server.tool()
def delete_notes(everything: bool) -> str:
    """Deletes notes: all of them, or the oldest one."""
    file.write_text(json.dumps([] if everything else notes()[1:]))
    return f"{len(notes())} notes"


uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=port, log_level="warning")
