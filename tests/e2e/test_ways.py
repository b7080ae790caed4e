"""Ways into a process beside the files of packages: found at the first run, and told once they are meant."""

import shutil
import subprocess
import zipfile

import pytest
from conftest import gaps, rules, sha256, words
from test_environment import guard, prepared


@pytest.fixture(scope="module")
def copy(base, tmp_path_factory, clean):
    return prepared(base, tmp_path_factory, clean)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library that does nothing."""
    folder = tmp_path_factory.mktemp("library")
    compiler = shutil.which("cc")
    assert compiler is not None, "no C compiler: install one"
    (folder / "nothing.c").write_text("int taintline_test_nothing;\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "nothing.so", folder / "nothing.c"], check=True)
    return folder / "nothing.so"


def test_a_preloaded_library_is_found_also_where_a_launcher_sets_it_and_accepted_once(copy, library):
    launcher = copy.folder / "launch.sh"
    launcher.write_text(f'export LD_PRELOAD={library}\nexec "$@"\n')
    done = copy.guarded("sh", "launch.sh", copy.python, "job.py")
    view = copy.show()
    assert rules(view) == ["library-preloaded"], (done, view["findings"])
    assert str(library) in words(view["findings"][0]) and "LD_PRELOAD" in words(view["findings"][0])
    copy.guarded("sh", "launch.sh", copy.python, "job.py", options=["--accept-environment"])
    assert rules(copy.show()) == []
    done = copy.guarded("sh", "launch.sh", copy.python, "job.py")
    assert done.code == 0, done
    assert rules(copy.show()) == [], "it is the one that was accepted"


def test_a_module_in_front_of_the_installed_one_is_found_when_it_is_imported(copy):
    shadow = copy.folder / "numpy"
    shadow.mkdir()
    (shadow / "__init__.py").write_text("from_elsewhere = True\n")
    (copy.folder / "test.py").write_text("")
    try:
        # Torch does without numpy, which this is not.
        guard(copy, "import numpy; assert numpy.from_elsewhere")
    finally:
        shutil.rmtree(shadow)
    view = copy.show()
    assert rules(view) == ["import-shadowed"], view["findings"]
    assert view["findings"][0]["path"].startswith(str(shadow))
    assert "numpy" in words(view["findings"][0])


def test_a_module_in_front_of_python_s_own_by_a_search_path_is_found(copy, tmp_path):
    (tmp_path / "colorsys.py").write_text("from_elsewhere = True\n")
    copy.guarded(copy.python, "job.py", "import colorsys; colorsys.from_elsewhere", PYTHONPATH=str(tmp_path))
    view = copy.show()
    assert rules(view) == ["import-shadowed"], view["findings"]
    assert "Python's own library" in words(view["findings"][0])
    assert "PYTHONPATH" in gaps(view), "a search path that is new is a note"


def test_a_sitecustomize_from_outside_is_found_and_so_is_one_among_the_packages(copy, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("marker = 1\n")
    copy.guarded(copy.python, "job.py", PYTHONPATH=str(tmp_path))
    view = copy.show()
    assert rules(view) == ["environment-unowned"], view["findings"]
    assert "sitecustomize" in words(view["findings"][0])
    inside = copy.site.site / "sitecustomize.py"
    inside.write_text("marker = 1\n")
    try:
        guard(copy)
    finally:
        inside.unlink()
    assert rules(copy.show()) == ["environment-unowned"], copy.show()["findings"]


def test_a_plug_in_that_the_last_good_run_did_not_have_is_found(copy, tmp_path):
    copy.guarded(copy.python, "job.py", NCCL_NET_PLUGIN=str(tmp_path / "libnccl-net-x.so"))
    view = copy.show()
    assert rules(view) == ["way-in-new"], view["findings"]
    assert "NCCL_NET_PLUGIN" in words(view["findings"][0])


def test_code_out_of_a_zip_file_is_recorded_with_the_file_and_stands_in_front_of_nothing_unseen(copy):
    archive = copy.folder / "parts.zip"
    with zipfile.ZipFile(archive, "w") as parts:
        parts.writestr("zipped.py", "MARK = 1\n")
        parts.writestr("tool.py", "from_elsewhere = True\n")
    line = "sys.path.insert(0, 'parts.zip'); import zipped"
    assert guard(copy, line).code == 0
    view = copy.show()
    assert [it["digest"] for it in view["loads"] if it["path"] == str(archive)] == [sha256(archive)], view["loads"]
    guard(copy, f"{line}, tool; assert tool.from_elsewhere")
    view = copy.show()
    assert rules(view) == ["import-shadowed"], view["findings"]
    assert view["findings"][0]["path"] == f"{archive}/tool.py"
