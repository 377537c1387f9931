"""Columns that fit, and text that does nothing to a terminal."""

from ingest.commands.table import table

HEADER = ("NAME", "STATE", "REASON")


def test_columns_are_as_wide_as_their_widest_cell():
    lines = table(HEADER, [("contoso", "healthy", "well"), ("b", "x", "")], None)
    assert lines == [
        "NAME     STATE    REASON",
        "contoso  healthy  well",
        "b        x",
    ]


def test_without_a_terminal_nothing_is_cut():
    assert table(HEADER, [("a", "b", "c" * 500)], None)[1].endswith("c" * 500)


def test_the_last_column_is_cut_before_the_first():
    lines = table(HEADER, [("n" * 30, "healthy", "r" * 60)], 70)
    assert max(map(len, lines)) == 70
    assert lines[1] == f"{'n' * 30}  healthy  {'r' * 28}…"
    lines = table(HEADER, [("n" * 30, "healthy", "r" * 60)], 50)
    assert lines[1] == f"{'n' * 22}…  healthy  {'r' * 15}…"


def test_columns_that_can_be_done_without_are_left_out_before_anything_is_cut():
    rows = [("contoso", "x" * 36, "eu", "r" * 60)]
    header = ("NAME", "TENANT", "REGION", "REASON")

    def columns(width):
        return table(header, rows, width, spare=(1, 2))[0].split()

    assert columns(115) == ["NAME", "TENANT", "REGION", "REASON"]
    assert columns(95) == ["NAME", "TENANT", "REGION", "REASON"]
    assert columns(94) == ["NAME", "REGION", "REASON"]
    assert columns(56) == ["NAME", "REASON"]
    assert max(map(len, table(header, rows, 50, spare=(1, 2)))) == 50


def test_a_terminal_that_is_far_too_narrow_leaves_something_of_each_column():
    lines = table(HEADER, [("n" * 30, "healthy", "r" * 60)], 10)
    assert lines[1] == f"{'n' * 15}…  healthy  {'r' * 15}…"


def test_wide_letters_take_two_columns_and_marks_none():
    lines = table(("A", "B"), [("日本", "x"), ("e\u0301", "x"), ("abcd", "x")], None)
    assert lines[1:] == ["日本  x", "e\u0301     x", "abcd  x"]


def test_a_wide_text_is_cut_to_its_columns():
    assert table(("A",), [("日" * 20,)], 16)[1] == "日" * 7 + "…"


def test_what_would_move_the_cursor_is_replaced():
    lines = table(("A",), [("\x1b[31mred\x07",), ("two\nlines\there",), ("\u202eodd",)], None)
    assert lines[1:] == ["�[31mred�", "two lines here", "�odd"]
