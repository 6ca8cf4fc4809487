"""Mends a workbook as a person with openpyxl would: sets cells, deletes a column, sorts, renames.

    mend.py IN OUT [ADDRESS=TEXT | delete=COLUMN | sort=COLUMN | title=NAME]...
"""

import sys

import openpyxl

source, target, *edits = sys.argv[1:]
book = openpyxl.load_workbook(source)
sheet = book.active
for edit in edits:
    what, value = edit.split("=", 1)
    if what == "delete":
        sheet.delete_cols(int(value))
    elif what == "title":
        sheet.title = value
    elif what == "sort":
        column = int(value)
        head, *rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
        rows.sort(key=lambda row: row[column - 1], reverse=True)
        for at, row in enumerate(rows, 2):
            for column, value in enumerate(row, 1):
                sheet.cell(at, column).value = value
    else:
        sheet[what] = int(value) if value.isdigit() else value
book.save(target)
