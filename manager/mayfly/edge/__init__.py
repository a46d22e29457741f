"""One outside system a file; each is the only importer of its library and translates its errors."""
