"""The reading page writes and reads the sheets that the analysis reads: its script, run by Node.js."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import readers

import rekon.reading.kit
from rekon.reading.sheet import empty_sheet, read_sheet

SCRIPT = Path(rekon.reading.kit.TEMPLATES) / "sheet.js"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")


def node(key, expression, **values):
    """Value of an expression over the page's functions, `study` and `values`."""
    study = {"kit": key.kit, "pairs": list(key.pairs), "criteria": list(key.criteria)}
    given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in ({"study": study} | values).items())
    code = f"{SCRIPT.read_text()}\n{given}console.log(JSON.stringify({expression}));"
    run = subprocess.run(["node", "-"], input=code, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_saved_and_loaded_sheets_are_the_readers(study, key, tmp_path):
    text = readers.read_as(tmp_path / "r1.csv", key, "r1", dict.fromkeys(readers.ARMS, 3.0), blank=3).read_text()
    loaded = node(key, "answersOf(study, text)", text=text)
    assert loaded["reader"] == "r1" and len(loaded["answers"]) == len(key.pairs) * 11 - 3
    saved = node(key, "sheetText(study, reader, answers)", **loaded)
    assert saved == text
    (tmp_path / "saved.csv").write_text(saved)
    assert read_sheet(tmp_path / "saved.csv", key, incomplete=True).unfilled == 3
    assert len(node(key, "unanswered(study, answers)", answers=loaded["answers"])) == 3
    # as a spreadsheet saves it
    assert node(key, "answersOf(study, text)", text="\ufeff" + text.replace("\n", "\r\n")) == loaded


def test_no_answers_are_the_empty_sheet(key):
    assert node(key, "sheetText(study, '', {})") == empty_sheet(key.kit, key.pairs, key.criteria)


def test_no_preference_is_an_answer(key, tmp_path):
    pair = next(iter(key.pairs))
    text = node(key, "sheetText(study, 'r', answers)", answers={f"{pair}.preferred": "none"})
    (tmp_path / "r.csv").write_text(text)
    assert list(read_sheet(tmp_path / "r.csv", key, incomplete=True).rows.loc[pair, "preferred"]) == [0, 0]
    assert node(key, "answersOf(study, text).answers", text=text) == {f"{pair}.preferred": "none"}


def test_foreign_sheets_are_refused(key):
    attempt = "(() => { try { answersOf(study, text) } catch (error) { return error.message } })()"
    other = empty_sheet("kit-0", key.pairs, key.criteria)
    assert node(key, attempt, text=other) == "This sheet belongs to another kit."
    assert node(key, attempt, text="a,b\n1,2\n") == "This file is not a sheet of this page."
