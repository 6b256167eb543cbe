"""Takes the README's pictures from a run's report page: make pictures RUN=runs/demo."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By

HERE = Path(__file__).parent
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-sync")


def take(page: Path) -> None:
    """Write `report.png` (the top of the page) and `gallery.png` beside this script."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in (*FLAGS, "--force-prefers-reduced-motion", "--window-size=1240,1480"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(page.resolve().as_uri())
        driver.save_screenshot(str(HERE / "report.png"))
        gallery = driver.find_element(By.ID, "gallery")
        driver.execute_script("arguments[0].scrollIntoView()", gallery)
        driver.save_screenshot(str(HERE / "gallery.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    take(Path(sys.argv[1]) / "report" / "files" / "index.html")
