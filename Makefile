# `make test` and `make demo` set everything up first; both work on a fresh Debian machine and a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two processes with one thread each: on two cores that is faster than one process with two.
PYTEST_ENV ?= OMP_NUM_THREADS=1
PYTEST_FLAGS ?= -n 2 --dist loadfile

.PHONY: test demo docs lint types contracts unit oldest lowest fuzz pyside system env clean

test: env system lint types contracts unit oldest pyside

demo: env
	$(BIN)/napari-sam2 demo

# The pages as a site in build/docs; a warning is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || sh .ci/system-packages python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

# What a window needs on Linux: installed only as root, only where missing.
system:
	@sh .ci/system-packages

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

contracts: env
	$(BIN)/lint-imports

unit: env system
	$(PYTEST_ENV) $(BIN)/pytest $(PYTEST_FLAGS)

# Twenty thousand damaged recordings, masks, prompts files and projects; about an hour.
fuzz: env system
	NAPARI_SAM2_LONG=1 $(PYTEST_ENV) $(BIN)/pytest -n 2 --timeout 0 tests/fuzz tests/storage/test_project_damage.py

# The window again, on the oldest napari that is supported; its own warnings are not ours.
oldest: $(VENV)-oldest/.installed system
	$(PYTEST_ENV) $(VENV)-oldest/bin/pytest $(PYTEST_FLAGS) -W default -p no:cacheprovider tests/plugin

$(VENV)-oldest/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e ".[test]"
	@touch $@

# Readers, exports and weights with the lowest version of everything that is depended upon; its warnings are not ours.
LOWEST ?= tests/frames tests/formats tests/model/weights
lowest: $(VENV)-lowest/.installed system
	$(PYTEST_ENV) $(VENV)-lowest/bin/pytest $(PYTEST_FLAGS) -W default -p no:cacheprovider $(LOWEST)

$(VENV)-lowest/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e ".[test]"
	@touch $@

# Menus, docks and events once more with the other Qt binding.
pyside: $(VENV)-pyside/.installed system
	QT_API=pyside6 $(PYTEST_ENV) $(VENV)-pyside/bin/pytest -p no:cacheprovider tests/plugin/contributions/test_plugin_menu.py tests/plugin/qt/test_event_loop.py

$(VENV)-pyside/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-pyside
	grep -vi '^pyqt6' constraints.txt > $(VENV)-pyside/constraints.txt
	$(VENV)-pyside/bin/pip install --quiet --disable-pip-version-check -c $(VENV)-pyside/constraints.txt -e ".[test-pyside]"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-lowest $(VENV)-pyside .mypy_cache .ruff_cache .pytest_cache dist build
