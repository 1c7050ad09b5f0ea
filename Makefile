# Thin names for scripts/dev.py; pass arguments as ARGS=…, for example `make demo ARGS=--exit`.
.PHONY: demo test
PYTHON ?= python3

demo:
	@$(PYTHON) scripts/dev.py demo $(ARGS)

test:
	@$(PYTHON) scripts/dev.py test $(ARGS)
