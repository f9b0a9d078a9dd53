"""Tools for agents, offered over MCP by `limpid mcp` and under `/mcp`: their parameters, answers and budget."""
