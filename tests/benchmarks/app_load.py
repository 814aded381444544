"""Many visitors at once: `python tests/benchmarks/app_load.py [visitors] [seconds]`.

Starts the app, lets each visitor open mixed pages, type a text and wait for its answer, again and again, and
prints the number of answers, p50 and p95 of the time from the click to the answer, errors, and the server's
memory. Needs Chromium; the visitors' browser works on the same cores as the server.
"""

import asyncio
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from playwright.async_api import async_playwright

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("sentiment", "entities", "summarization")
WORDS = [
    "Paris",
    "film",
    "Angela",
    "Merkel",
    "said",
    "wonderful",
    "dull",
    "Siemens",
    "never",
    "again",
    "bridge",
    "river",
    "Monday",
    "council",
    "not",
]
# A visitor reads for a while before the next click, in seconds.
READING = (2, 6)


async def visit(browser, address, end, seed, times, errors):
    """One visitor until `end`: a page, a text of its own, its answer."""
    choice = random.Random(seed)
    page = await (await browser.new_context(viewport={"width": 1000, "height": 800})).new_page()
    while time.monotonic() < end:
        try:
            await page.goto(f"{address}/{choice.choice(PAGES)}")
            number = choice.randrange(10**9)
            await page.locator("textarea").fill(" ".join(choice.choices(WORDS, k=40)) + f". Number {number}.")
            button = page.get_by_role("button", name="Read it")
            began = time.monotonic()
            await button.click()
            await page.get_by_test_id("stHtml").filter(has_text=str(number)).first.wait_for(timeout=20_000)
            times.append(time.monotonic() - began)
            if await page.get_by_test_id("stException").count():
                errors.append("an exception is shown")
        except Exception as error:
            errors.append(str(error).splitlines()[0])
        await asyncio.sleep(choice.uniform(*READING))


async def run(num_visitors, num_seconds):
    """Starts the server and the visitors and prints what was measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.headless", "true"]
    server = subprocess.Popen(
        [*command, "--server.port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    memory = []
    times, errors = [], []
    try:
        async with async_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            path = shutil.which("chromium")
            browser = await playwright.chromium.launch(executable_path=path, args=arguments)
            await asyncio.sleep(5)
            end = time.monotonic() + num_seconds
            address = f"http://127.0.0.1:{port}"
            visits = [visit(browser, address, end, seed, times, errors) for seed in range(num_visitors)]
            visitors = [asyncio.create_task(each) for each in visits]
            while time.monotonic() < end:
                memory.append(psutil.Process(server.pid).memory_info().rss / 1e6)
                await asyncio.sleep(2)
            await asyncio.gather(*visitors)
            await browser.close()
    finally:
        server.terminate()
        server.wait()
    p50, p95 = np.quantile(times, [0.5, 0.95])
    print(f"{len(times)} answers, p50 {p50:.2f} s, p95 {p95:.2f} s")
    print(f"{len(errors)} errors: {sorted(set(errors))[:3]}")
    third = max(1, len(memory) // 3)
    middle = np.median(memory[third:-third])
    print(f"memory of the server: {middle:.0f} MB in the middle, {memory[-1]:.0f} MB at the end")


if __name__ == "__main__":
    asyncio.run(run(*map(int, sys.argv[1:3] or ("20", "120"))))
