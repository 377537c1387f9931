"""The operator's configuration: frozen sections from a file, the environment and secret files.

The only home of pydantic and PyYAML.
"""
