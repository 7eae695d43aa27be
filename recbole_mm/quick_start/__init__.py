"""The commands: from arguments to runs, tables and files."""
