"""WebSockets with the library `websockets`: chat.py serve PORT, or chat.py connect PORT.

The server answers each message, and pings every client every 20 s, as the library does by itself. Of 30 clients, half
ping every 5 s and half every 20 s; they come one after the other within 5 s, and each says one thing. `connected` is
printed when all have got their answer, `closed N` when all have been disconnected: N of them with the server's words.
"""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

CLIENTS, WITHIN = 30, 5.0


async def answer(socket):
    async for message in socket:
        await socket.send(message)


async def server(port):
    async with serve(answer, "127.0.0.1", port):
        print("listening", flush=True)
        await asyncio.get_running_loop().create_future()


async def client(number, port, connected):
    await asyncio.sleep(number * WITHIN / CLIENTS)
    interval = 5 if number % 2 else 20
    async with connect(f"ws://127.0.0.1:{port}", ping_interval=interval) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        connected.append(number)
        if len(connected) == CLIENTS:
            print("connected", flush=True)
        await socket.wait_closed()
        return socket.close_code == 1001


async def clients(port):
    connected = []
    ends = await asyncio.gather(*(client(number, port, connected) for number in range(CLIENTS)))
    print(f"closed {sum(ends)}", flush=True)


asyncio.run({"serve": server, "connect": clients}[sys.argv[1]](int(sys.argv[2])))
