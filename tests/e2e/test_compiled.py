"""Byte code: what Python would run instead of the source is compared with the source, wherever it lies."""

import subprocess

import pytest
from conftest import rules, words
from test_environment import guard, prepared

# Writes byte code of one text under the name of another source, tied to that as it is asked.
POISON = """
import importlib._bootstrap_external as external, importlib.util, os, sys
source, text, how, target = sys.argv[1:]
stat = os.stat(source)
code = compile(text, source, "exec", dont_inherit=True)
if how == "time":
    data = external._code_to_timestamp_pyc(code, int(stat.st_mtime), stat.st_size)
elif how == "stale":
    data = external._code_to_timestamp_pyc(code, int(stat.st_mtime) - 1, stat.st_size)
else:
    data = external._code_to_hash_pyc(code, importlib.util.source_hash(open(source, "rb").read()), how == "checked")
target = target or importlib.util.cache_from_source(source)
os.makedirs(os.path.dirname(target), exist_ok=True)
open(target, "wb").write(data)
print(target)
"""
TEXT = "LEVEL = 1\n"
OTHER = "LEVEL = 1\nHIDDEN = 'marker of the test'\n"
SHOW = "import tool; print('HIDDEN' if hasattr(tool, 'HIDDEN') else 'honest')"


@pytest.fixture(scope="module")
def copy(base, tmp_path_factory, clean):
    world = prepared(base, tmp_path_factory, clean, SHOW)
    assert "honest" in world.good.out, world.good
    return world


def poison(world, source, text, how, target=""):
    done = subprocess.run(
        [world.python, "-c", POISON, source, text, how, target], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def tool(copy):
    """The module that is poisoned; its byte code is taken away again."""
    yield copy.site.site / "tool.py"
    for file in (copy.site.site / "__pycache__").glob("tool.*"):
        file.unlink()


def test_byte_code_with_the_time_and_size_of_its_source_is_found_and_told_in_words(copy, tool):
    place = poison(copy, tool, OTHER, "time")
    done = guard(copy, SHOW)
    assert "HIDDEN" in done.out, "the byte code was to be used"
    view = copy.show()
    assert rules(view) == ["compiled-differs"], view["findings"]
    (finding,) = view["findings"]
    assert place.endswith(finding["path"].split("/", 1)[1])
    assert "HIDDEN" in words(finding) and "marker of the test" in words(finding)


def test_byte_code_that_no_source_keeps_from_being_used_is_found_where_it_is_another(copy, tool):
    poison(copy, tool, OTHER, "unchecked")
    done = guard(copy, SHOW)
    assert "HIDDEN" in done.out, "the byte code was to be used"
    assert rules(copy.show()) == ["compiled-unchecked"], copy.show()["findings"]


@pytest.mark.parametrize(("text", "how"), [(TEXT, "unchecked"), (TEXT, "checked"), (TEXT, "time"), (OTHER, "stale")])
def test_byte_code_that_is_its_source_s_or_is_not_used_is_no_finding(copy, tool, text, how):
    poison(copy, tool, text, how)
    done = guard(copy, SHOW)
    assert done.code == 0 and "honest" in done.out, done
    assert rules(copy.show()) == [], copy.show()["findings"]


def test_byte_code_of_a_project_s_own_module_is_compared_too(copy):
    source = copy.script("LEVEL = 1\n", "own.py")
    place = poison(copy, source, OTHER, "time")
    done = guard(copy, "import own; print('HIDDEN' if hasattr(own, 'HIDDEN') else 'honest')")
    source.unlink()
    assert "HIDDEN" in done.out, "the byte code was to be used"
    view = copy.show()
    assert rules(view) == ["compiled-differs"], view["findings"]
    assert view["findings"][0]["path"] == place


def test_byte_code_in_a_tree_of_its_own_is_compared_instead(copy, tool, tmp_path):
    tag = subprocess.run(
        [copy.python, "-c", "import sys; print(sys.implementation.cache_tag)"], check=True, capture_output=True, text=True
    )
    below = tmp_path / str(tool.parent).lstrip("/")
    poison(copy, tool, OTHER, "time", str(below / f"tool.{tag.stdout.strip()}.pyc"))
    done = copy.guarded(copy.python, "job.py", SHOW, PYTHONPYCACHEPREFIX=str(tmp_path))
    assert "HIDDEN" in done.out, "the byte code was to be used"
    assert rules(copy.show()) == ["compiled-differs"], copy.show()["findings"]
