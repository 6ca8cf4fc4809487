"""Prints the cells of workbooks as openpyxl reads them, as JSON: for each file its sheets, for each
sheet its cells by address, each as [kind, value, number format]; and what its properties say."""

import datetime
import json
import sys
import warnings

import openpyxl

warnings.simplefilter("ignore")


def cell(cell):
    value = cell.value
    if isinstance(value, bool):
        return ["b", value, ""]
    if isinstance(value, (int, float)):
        return ["n", float(value), cell.number_format]
    if isinstance(value, datetime.timedelta):
        return ["d", value.total_seconds(), cell.number_format]
    if isinstance(value, (datetime.date, datetime.time)):
        return ["d", value.isoformat(), cell.number_format]
    return [cell.data_type, str(value), ""]


def read(path):
    try:
        book = openpyxl.load_workbook(path, data_only=True)
    except Exception as error:
        return {"error": repr(error)}
    sheets = {}
    for sheet in book.worksheets:
        # Those that are there: a sheet with a cell in its last corner has 17 billion places.
        cells = sorted(sheet._cells.items())
        sheets[sheet.title] = {
            one.coordinate: cell(one) for _, one in cells if one.value not in (None, "")
        }
    properties = {one.name: one.value for one in book.custom_doc_props.props}
    return {"sheets": sheets, "properties": properties}


json.dump({path: read(path) for path in sys.argv[1:]}, sys.stdout)
