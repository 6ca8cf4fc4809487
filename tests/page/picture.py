"""The picture of the page that the README shows: an upload on its way.

    picture.py URL HOME
"""

import pathlib
import sys

from browser import Browser, worker, workbook

url, home = sys.argv[1], pathlib.Path(sys.argv[2])

for theme in ["light", "dark"]:
    with Browser(theme, (1100, 980)) as page:
        page.go(f"{url}/")
        page.send(workbook(home / "orders.xlsx", 400), "orders.xlsx", anew=True)
        page.press("Watch", ".tray")
        page.says(".head .pill", "Waiting for workers")
        with worker(url, more=["--rate", "20"], error="the shop knows no such customer"):
            processed = lambda: int(page.seen('[aria-label="Processed"]').get_attribute("aria-valuenow"))
            page.until("half of it", lambda: processed() >= 60)
            page.says('[data-part="dead"]', "Orders!34")
            page.shot("picture")
            page.until("all of it", lambda: processed() == 100)
