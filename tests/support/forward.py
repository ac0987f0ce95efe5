# SPDX-License-Identifier: Apache-2.0
"""forward.py ADDRESS PORT URL : connections to ADDRESS:PORT go to the host and port of URL."""
import asyncio
import sys
import urllib.parse

target = urllib.parse.urlsplit(sys.argv[3])


async def pour(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass


async def forward(reader, writer):
    there = await asyncio.open_connection(target.hostname, target.port)
    await asyncio.gather(pour(reader, there[1]), pour(there[0], writer))
    there[1].close()
    writer.close()


async def serve():
    await (await asyncio.start_server(forward, sys.argv[1], int(sys.argv[2]))).serve_forever()

asyncio.run(serve())
