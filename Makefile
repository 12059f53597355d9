# Everything is started from here. Needs python3 (3.11 or newer), git and make; the rest is set up on the way.
.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench soak lock wheel install clean checkout servers

# Settings of the caller's own Python would shadow the packages in .venv.
unexport PYTHONPATH PYTHONHOME

set_up := deploy/set_up_checkout.sh
# .venv/bin also holds Node where the machine has none; Debian keeps mosquitto in /usr/sbin.
in_checkout := PATH="$(CURDIR)/.venv/bin:$$PATH:/usr/sbin"
# The variable turns off an advertisement for another program, not a warning about the documents.
build_docs := $(in_checkout) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
# Only pins, hashes and reasons go into a lock file; --quiet keeps it off the screen too.
resolve := build/uv/bin/uv --no-config pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock"

help: ## show these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1	\2/p' Makefile | while IFS='	' read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

demo: checkout ## run a small simulated estate (ARGS="--http-port 8081" and the like are passed on)
	@$(in_checkout) .venv/bin/gengfu demo $(ARGS)

test: servers check ## everything that must hold: check, then all tests, against real servers too
	$(in_checkout) npm --prefix web --silent test
	$(in_checkout) .venv/bin/python -m pytest

check: checkout ## lint, formatting, types, import rules and links of the documentation; no tests
	$(in_checkout) ruff check
	$(in_checkout) ruff format --check
	$(in_checkout) mypy
	$(in_checkout) lint-imports --no-logo
	$(in_checkout) npm --prefix web --silent run check
	$(build_docs)

docs: checkout ## build the documentation as a site into build/docs, and check its links
	$(build_docs)

bench: checkout servers ## measure and write docs/performance.md (ARGS="ingest history" for some; 40 minutes for all)
	@$(set_up) reference
	@$(in_checkout) .venv/bin/python -m benchmarks $(ARGS)

soak: checkout servers ## the fault tests for longer, then a burst of ten times the usual load for fifteen minutes
	$(in_checkout) .venv/bin/python -m pytest -m soak
	@$(in_checkout) .venv/bin/python -m benchmarks soak

lock: ## resolve both Python lock files anew (ARGS=--upgrade for newer versions)
	python3 -m venv --clear build/uv
	build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(resolve) $(ARGS) --output-file requirements.lock
	$(resolve) $(ARGS) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	rm -rf build

wheel: ## build the source package, and from it the wheel, with the web app inside, into dist/
	@$(set_up) python wheel

install: ## build the wheel and install it with the locked packages (PREFIX=/opt/gengfu)
	@PREFIX="$(PREFIX)" $(set_up) python wheel production

clean: ## remove what make made (data and settings stay)
	rm -rf .venv build dist web/node_modules web/dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

checkout: # .venv and the built web app, made or brought up to date
	@$(set_up) python web

servers: # what the tests talk to
	@$(set_up) servers
