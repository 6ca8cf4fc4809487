"""A server that goes away is told of, and what it knew is shown again when it comes back.

    restart.py HOME
"""

import os
import pathlib
import socket
import subprocess
import sys

from browser import PATIENCE, ROWMILL, ROWS, Browser, work, workbook

home = pathlib.Path(sys.argv[1])
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
url = f"http://{address}"


def serve():
    server = subprocess.Popen([ROWMILL, "serve", "--listen", address], cwd=home, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "ROWMILL_DATABASE_URL": "sqlite:test.db"})
    for line in server.stderr:
        if "listening" in line:
            return server
    raise AssertionError("the server ended before it listened")


server = serve()
try:
    with Browser() as page:
        page.go(f"{url}/")
        page.send(workbook(home / "orders.xlsx"), "orders.xlsx")
        page.says(".cards", f"0 of {ROWS} rows done")
        page.press("orders.xlsx", ".cards")
        page.says(".head .pill", "Waiting for workers")
        page.says("#link", "Live")

        server.kill()
        server.wait(PATIENCE)
        page.says("#away", "Offline")
        page.says("#link", "Offline")
        # What was known stays.
        page.says("h1", "orders.xlsx")
        page.look_at("offline")

        server = serve()
        page.press("Try now", "#away")
        page.says("#link", "Live")
        page.until("nothing about being away", lambda: page.text("#away") == "")
        work(url)
        page.says(".head .pill", "Done, with failures")

        # Nobody answers when the page is opened: it says so, and can be asked again.
        page.go(f"{url}/#/queues")
        page.says(".card", "rows")
        server.kill()
        server.wait(PATIENCE)
        page.says("#away", "Offline")
        server = serve()
        # This time by itself.
        page.says("#link", "Live")
finally:
    server.kill()
    server.wait(PATIENCE)
