"""The paper's figures, one command each, and the report that puts them together."""
