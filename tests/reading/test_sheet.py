"""Score sheets: what a reader may do to them, and one sentence for everything else."""

import pytest
import readers

from rekon.errors import UserError
from rekon.reading.sheet import CRITERIA, empty_sheet, read_sheet

QUALITY = dict.fromkeys(readers.ARMS, 3.5)


@pytest.fixture
def filled(tmp_path, key):
    return readers.read_as(tmp_path / "r1.csv", key, "r1", QUALITY)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def write(path, rows):
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def edit(path, row, column, value):
    """Change one cell; `row` as a spreadsheet counts it."""
    rows = [line.split(",") for line in lines(path)]
    rows[row - 1][rows[0].index(column)] = value
    return write(path, [",".join(cells) for cells in rows])


def refused(path, key, sentence, **options):
    with pytest.raises(UserError) as error:
        read_sheet(path, key, **options)
    assert str(error.value) == f"{path}: {sentence}"


def test_filled_sheet_is_read(filled, key):
    sheet = read_sheet(filled, key)
    assert (sheet.reader, sheet.unfilled) == ("r1", 0)
    assert list(sheet.rows.columns) == [*CRITERIA, "preferred"] and len(sheet.rows) == 2 * len(key.pairs)
    third = lines(filled)[3].split(",")
    assert [str(int(value)) for value in sheet.rows.loc[(third[2], third[3])]] == third[4:]


def test_the_kits_own_sheet_is_the_empty_one(study, key):
    path = study / "kit" / "sheet.csv"
    assert path.read_text() == empty_sheet(key.kit, key.pairs, key.criteria)
    refused(path, key, "row 2: 'reader' is ''; put the reader's code into every row, letters and digits only.")


def test_what_spreadsheets_do_is_understood(filled, key, tmp_path):
    expected = read_sheet(filled, key)
    head, *rows = lines(filled)
    semicolons = [line.replace(",", " ; ") for line in (head, *rows)]
    numbers = [head, *(line.replace(f"{key.kit},00", f"{key.kit},") for line in rows)]
    for name, changed in (
        ("semicolons", semicolons), ("zeros", numbers), ("order", [head, *rows[::-1]]),
        ("blank", [head, "", *rows, ",,"]), ("mark", [f"\ufeff{head}", *rows]),
    ):  # fmt: skip
        assert read_sheet(write(tmp_path / f"{name}.csv", changed), key).rows.equals(expected.rows), name
    (tmp_path / "crlf.csv").write_bytes("\r\n".join([head, *rows, ""]).encode())
    assert read_sheet(tmp_path / "crlf.csv", key).rows.equals(expected.rows)


def test_empty_cells_need_leave_and_are_counted(filled, key):
    edit(edit(filled, 3, "snr", ""), 9, "preferred", "")
    refused(filled, key, "row 3, 'snr' is empty (and 1 more); fill it in, or analyse what is there with --incomplete.")
    sheet = read_sheet(filled, key, incomplete=True)
    assert sheet.unfilled == 2 and sheet.rows["snr"].isna().sum() == 1


@pytest.mark.parametrize("value", ["0", "6", "2.5", "good", "-1", "١"])
def test_scores_are_1_to_5(filled, key, value):
    edit(filled, 4, "sharpness", value)
    refused(filled, key, f"row 4: 'sharpness' is {value!r} and must be 1, 2, 3, 4 or 5; correct the cell.")


def test_preference_is_0_or_1_and_for_one_image_at_most(filled, key):
    refused(edit(filled, 2, "preferred", "A"), key, "row 2: 'preferred' is 'A' and must be 0 or 1; correct the cell.")
    edit(edit(filled, 2, "preferred", "1"), 3, "preferred", "1")
    sentence = "row 3: both images of pair 0001 are 'preferred'; put 0 for one, or for both if there is no preference."
    refused(filled, key, sentence)
    read_sheet(edit(edit(filled, 2, "preferred", "0"), 3, "preferred", "0"), key)


def test_missing_rows_are_never_allowed(filled, key):
    rows = lines(filled)
    remedy = "copy what is missing from the kit's sheet.csv, and leave its cells empty if it was not read."
    write(filled, rows[:4] + rows[5:])
    refused(filled, key, f"no row for pair 0002, side B; {remedy}", incomplete=True)
    write(filled, rows[:-3])
    refused(filled, key, f"no row for pair 0019, side B (and 2 more); {remedy}")
    write(filled, rows[:1])
    refused(filled, key, f"no row for pair 0001, side A (and 39 more); {remedy}")


def test_duplicated_rows_are_refused(filled, key):
    rows = lines(filled)
    write(filled, [*rows, rows[2]])
    refused(filled, key, "row 42: pair 0001, side B is in row 3 already; delete one of the two.")


def test_rows_of_another_kit_or_no_kit_are_refused(filled, key):
    rows = lines(filled)
    remedy = "restore it from the kit's sheet.csv."
    refused(edit(filled, 2, "pair", "0099"), key, f"row 2: 'pair' '0099' is not in the key; {remedy}")
    write(filled, rows)
    refused(edit(filled, 2, "side", "left"), key, f"row 2: 'side' is 'left' and must be A or B; {remedy}")
    write(filled, [row.replace(key.kit, "kit-0") for row in rows])
    refused(
        filled, key, f"row 2: 'kit' is 'kit-0' but the key is that of '{key.kit}'; take the key that was made with "
        "this sheet.",
    )  # fmt: skip


def test_one_reader_per_sheet(filled, key):
    refused(edit(filled, 5, "reader", "r2"), key, "row 5: 'reader' is 'r2' after 'r1'; keep one sheet per reader.")
    edit(filled, 2, "reader", "=cmd()")
    refused(filled, key, "row 2: 'reader' is '=cmd()'; put the reader's code into every row, letters and digits only.")


def test_damaged_tables_are_refused(filled, key, tmp_path):
    rows = lines(filled)
    refused(tmp_path / "none.csv", key, "no such file.")
    header = "the header must be that of the kit's sheet.csv."
    write(filled, [rows[0].replace("snr", "SNR"), *rows[1:]])
    refused(filled, key, f"row 1: column 'snr' is missing; {header}")
    write(filled, [f"{row},x" for row in rows])
    refused(filled, key, f"row 1: column 'x' does not belong; {header}")
    write(filled, [f"{row},{row.split(',')[5]}" for row in rows])
    refused(filled, key, f"row 1: column 'overall_quality' is there twice; {header}")
    write(filled, [*rows[:5], rows[5] + ",3", *rows[6:]])
    refused(filled, key, "row 6: 11 cells instead of 10; repair the row, as in the kit's sheet.csv.")
    filled.write_bytes(b"\xff\xfe" + "reader".encode("utf-16-le"))
    refused(filled, key, "not a text file in UTF-8; save the sheet as CSV (UTF-8).")
    filled.write_text("")
    refused(filled, key, f"row 1: column 'reader' is missing; {header}")
