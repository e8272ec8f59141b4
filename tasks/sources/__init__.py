"""Ingestion: text from files, packages and built-in samples becomes tables of documents and labelled rows."""
