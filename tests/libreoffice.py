"""See tests/libreoffice.

    libreoffice.py ROWMILL
"""

import csv
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request
import uuid

import openpyxl

ROWMILL = pathlib.Path(sys.argv[1]).resolve()
ROWS = 200
BAD = [5, 17, 90]
WRITTEN = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "<b>x</b>", "Müller, \"Anna\"", "007", "a\nb"]
PATIENCE = 120


def original(path):
    """Every kind of cell, with formats."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Orders"
    sheet.append(["id", "text", "amount", "day", "moment", "part", "zip", "paid", "fit"])
    for row in range(2, ROWS + 2):
        sheet.append([
            row, None, row * 1.1, datetime.date(2026, 1, 1) + datetime.timedelta(row),
            datetime.datetime(2026, 1, 1, 10, 30) + datetime.timedelta(minutes=row), row / 1000, row,
            row % 2 == 0, "no" if row in BAD else "yes",
        ])
        text = sheet.cell(row, 2, WRITTEN[row % len(WRITTEN)])
        text.data_type = "s"
        for column, code in [(3, '#,##0.00 "€"'), (4, "dd/mm/yyyy"), (5, "yyyy-mm-dd hh:mm"), (6, "0.0%"), (7, "00000")]:
            sheet.cell(row, column).number_format = code
    book.save(path)


def office(home, *arguments):
    profile = f"-env:UserInstallation=file://{home}/profile"
    command = ["soffice", profile, "--headless", *arguments]
    subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def shown(home, path):
    """A workbook's first sheet as LibreOffice shows it."""
    out = home / "csv"
    # Commas, double quotes, UTF-8, from the first line, as shown.
    office(home, "--convert-to", "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false", "--outdir", str(out), str(path))
    with open(out / f"{path.stem}.csv", newline="", encoding="utf-8") as lines:
        return list(csv.reader(lines))


def saved(home, path, name):
    """The workbook as LibreOffice saves it."""
    out = home / "saved"
    office(home, "--convert-to", "xlsx:Calc MS Excel 2007 XML", "--outdir", str(out), str(path))
    return (out / path.name).rename(home / name)


def rowmill(*arguments, code=0):
    ran = subprocess.run([ROWMILL, *arguments], stdout=subprocess.PIPE, timeout=PATIENCE, env={**os.environ, "NO_PROXY": "*"})
    assert ran.returncode == code, (arguments, ran.returncode, ran.stdout)
    return ran.stdout


def send(url, path, query=""):
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    request = urllib.request.Request(
        f"{url}/file/upload?wait=true{query}", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE) as answer:
        return json.load(answer)["data"][0]


def work(url):
    rowmill("work", "--api-url", url, "--queue", "rows", "--until-empty", "--exec", "sh", "-c", 'test "$0" = yes || exit 65', "{fit}")


def story(home, url):
    first = home / "orders.xlsx"
    original(first)
    upload = send(url, first)
    work(url)
    results, failures = home / "results.xlsx", home / "failures.xlsx"
    rowmill("results", upload["id"], "--api-url", url, "-o", results)
    rowmill("results", upload["id"], "--api-url", url, "--failures", "-o", failures)

    before, after = shown(home, first), shown(home, results)
    assert len(before) == len(after) == ROWS + 1, (len(before), len(after))
    width = len(before[0])
    different = [(row, a, b[:width]) for row, (a, b) in enumerate(zip(before, after), 1) if a != b[:width]]
    assert not different, different[:3]
    assert after[0][width] == "status" and after[1][width] == "done"
    print(f"results.xlsx: {len(after) * width} cells are shown as those of the original")

    table = shown(home, failures)
    assert [int(row[0]) for row in table[1:]] == BAD, table
    assert [row[2:] for row in table[1:]] == [before[row - 1] for row in BAD]
    print(f"failures.xlsx: {len(BAD)} rows are shown as those of the original, and so are their numbers")

    # As a person does it: opened and saved, mended, saved once more.
    opened = saved(home, failures, "opened.xlsx")
    book = openpyxl.load_workbook(opened)
    told = {one.name: one.value for one in book.custom_doc_props.props}
    assert told["rowmill-upload"] == upload["id"], told
    fit = [cell.value for cell in book.active[1]].index("fit") + 1
    for row in range(2, len(BAD) + 2):
        book.active.cell(row, fit).value = "yes"
    book.save(home / "mended.xlsx")
    mended = saved(home, home / "mended.xlsx", "saved-mended.xlsx")
    correction = send(url, mended)
    counts = correction["counts"]
    assert correction["corrects"] == upload["id"], correction
    assert (counts["read"], counts["published"], counts["duplicates"]) == (len(BAD), len(BAD), 0), counts
    work(url)
    rowmill("results", correction["id"], "--api-url", url, "-o", home / "corrected.xlsx")
    corrected = openpyxl.load_workbook(home / "corrected.xlsx").active
    source = openpyxl.load_workbook(first).active
    for row in BAD:
        now = [cell.value for cell in corrected[row]][:width]
        # LibreOffice saves 15 digits of a number.
        then = [float(f"{one:.15g}") if isinstance(one, float) else one for one in (cell.value for cell in source[row])]
        then[-1] = "yes"
        assert now == then, (row, now, then)
        assert corrected.cell(row, width + 1).value == "done"
    print("failures.xlsx, saved by LibreOffice, mended, and saved by it again: it corrects its upload, "
          f"and {len(BAD)} rows have the values of the original")


with tempfile.TemporaryDirectory() as home:
    home = pathlib.Path(home)
    version = subprocess.run(["soffice", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    print(version)
    server = subprocess.Popen(
        [ROWMILL, "serve", "--listen", "127.0.0.1:0", "--database-url", f"sqlite:{home}/rowmill.db"],
        cwd=home, stderr=subprocess.PIPE, text=True)
    try:
        listens = "rowmill: listening on "
        line = next(line for line in server.stderr if line.startswith(listens))
        story(home, line.removeprefix(listens).strip())
    finally:
        server.terminate()
        server.wait(PATIENCE)
