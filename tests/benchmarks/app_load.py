"""Many visitors at once: `python tests/benchmarks/app_load.py [visitors] [seconds]`.

Starts the app, lets each visitor open mixed pages, type a text and wait for its answer, again and again, and
prints the number of answers, p50 and p95 of the time from the click to the end of the rerun, errors, and the
server's memory. Goals on two idle cores, 20 visitors, 120 seconds: no error, p95 of 1 s, memory flat.

A visitor is a connection that speaks the browser's part of Streamlit's protocol: twenty browsers would keep
the server's cores busy with drawing.
"""

import asyncio
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

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
# An answer that takes longer is an error, in seconds.
PATIENCE = 20


async def rerun(connection, page, widgets=()):
    """Asks for one run of the script and returns all elements that it draws."""
    message = BackMsg()
    message.rerun_script.page_name = page
    for name, kind, value in widgets:
        widget = message.rerun_script.widget_states.widgets.add(id=name)
        setattr(widget, kind, value)
    await connection.send(message.SerializeToString())
    elements = []
    while True:
        answer = ForwardMsg()
        answer.ParseFromString(await asyncio.wait_for(connection.recv(), PATIENCE))
        if answer.WhichOneof("type") == "delta":
            elements.append(answer.delta.new_element)
        elif answer.WhichOneof("type") == "script_finished":
            return elements


async def visit(address, end, seed, times, errors):
    """One visitor until `end`: a page, a text of its own, its answer."""
    choice = random.Random(seed)
    while time.monotonic() < end:
        try:
            page = choice.choice(PAGES)
            async with connect(address, subprotocols=["streamlit"], max_size=None) as connection:
                drawn = await rerun(connection, page)
                area = next(each.text_area for each in drawn if each.WhichOneof("type") == "text_area")
                buttons = [each.button for each in drawn if each.WhichOneof("type") == "button"]
                button = next(each for each in buttons if each.label == "Read it")
                await asyncio.sleep(choice.uniform(*READING))
                number = choice.randrange(10**9)
                text = " ".join(choice.choices(WORDS, k=40)) + f". Number {number}."
                widgets = [(area.id, "string_value", text), (button.id, "trigger_value", True)]
                began = time.monotonic()
                drawn = await rerun(connection, page, widgets)
                times.append(time.monotonic() - began)
                if any(each.WhichOneof("type") == "exception" for each in drawn):
                    errors.append("an exception is shown")
                if not any(str(number) in each.html.body for each in drawn):
                    errors.append(f"{page} did not draw the text")
                await asyncio.sleep(choice.uniform(*READING))
        except Exception as error:
            errors.append(f"{type(error).__name__} {error}")


async def run(num_visitors, num_seconds):
    """Starts the server and the visitors and prints what was measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.headless", "true"]
    server = subprocess.Popen(
        [*command, "--server.port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    memory, times, errors = [], [], []
    try:
        await asyncio.sleep(5)
        end = time.monotonic() + num_seconds
        address = f"ws://127.0.0.1:{port}/_stcore/stream"
        visits = [visit(address, end, seed, times, errors) for seed in range(num_visitors)]
        visitors = [asyncio.create_task(each) for each in visits]
        while time.monotonic() < end:
            memory.append(psutil.Process(server.pid).memory_info().rss / 1e6)
            await asyncio.sleep(2)
        await asyncio.gather(*visitors)
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
