"""PromQL: parsed by promql-parser, evaluated here over dense blocks of series."""
