"""Links between workers that a test can disturb: cut, frozen, delayed, or with damaged bytes.

A worker whose ELASTIC_PROXY names the farm asks it for a proxy in front of each of its ports
(`elastic_job.go_through_proxies`), and tells its peers that one's port.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading

CHUNK = 64 << 10
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Link:
    """One connection through the farm, both ways."""

    def __init__(self, kind, writers):
        self.kind, self.writers = kind, writers
        self.delays, self.damage, self.is_frozen = [], 0, False
        self.has_moved = False

    def close(self):
        self.is_frozen, self.delays = False, []
        for writer in self.writers:
            with contextlib.suppress(OSError, AttributeError):
                found = writer.get_extra_info("socket")
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Farm:
    """Proxies for the ports of all workers of a test; made and disturbed from its thread."""

    def __init__(self, seed):
        self._rng = random.Random(seed)
        self._links, self._servers, self.done = [], [], []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.address = f"127.0.0.1:{self._run(self._listen(self._control))}"

    def in_front_of(self, kind, port):
        """Returns the port of a new proxy in front of a port."""
        return self._run(self._proxy(kind, port))

    def disturb(self, action, seconds=0.1, kinds=("data", "bulk")):
        """Does something to a link that is in use, by chance; False if there is none."""

        async def act():
            live = [link for link in self._links if link.kind in kinds and link.has_moved]
            if not live:
                return False
            link = self._rng.choice(live)
            self.done.append(f"{action} {link.kind}")
            if action == "cut":
                link.close()
            elif action == "freeze":
                link.is_frozen = True
            elif action == "delay":
                link.delays = [seconds] * 20
            elif action == "corrupt":
                link.damage += 1
            return True

        return self._run(act())

    def close(self):
        async def end():
            for server in self._servers:
                server.close()
            for link in list(self._links):
                link.close()
            own = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not own]
            if others:  # their connections are closed; cancelled ones would be logged as errors
                await asyncio.wait(others, timeout=10)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _listen(self, serve):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def _control(self, reader, writer):
        with contextlib.suppress(OSError, ValueError):
            kind, port = (await reader.readline()).split()
            writer.write(b"%d\n" % await self._proxy(kind.decode(), int(port)))
            await writer.drain()
        writer.close()

    async def _proxy(self, kind, port):
        return await self._listen(lambda reader, writer: self._serve(kind, port, reader, writer))

    async def _serve(self, kind, port, reader, writer):
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        link = Link(kind, (writer, other_writer))
        self._links.append(link)
        try:
            ways = self._pump(link, reader, other_writer), self._pump(link, other_reader, writer)
            await asyncio.gather(*ways)
        except OSError:
            pass
        finally:
            link.close()
            self._links.remove(link)

    async def _pump(self, link, reader, writer):
        while data := await reader.read(CHUNK):
            link.has_moved = True
            while link.is_frozen:
                await asyncio.sleep(0.05)
            if link.delays:
                await asyncio.sleep(link.delays.pop())
            if link.damage and len(data) >= 64:
                link.damage -= 1
                changed = bytearray(data)
                changed[self._rng.randrange(len(changed))] ^= 1 << self._rng.randrange(8)
                data = bytes(changed)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
