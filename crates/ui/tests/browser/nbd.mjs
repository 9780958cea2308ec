// A client of an export that reads a little and then stays: as much of NBD as that takes.
// Source: NetworkBlockDevice/nbd, doc/proto.md, "Fixed newstyle negotiation" and "Transmission phase".

import { once } from "node:events";
import { connect } from "node:net";

const OPTION_MAGIC = 0x49484156454f5054n;
const REQUEST_MAGIC = 0x25609513;
const GO = 7;
const ACK = 1;
const READ = 0;
/** The header of a reply in the transmission phase. */
const REPLY = 16;

/** Connects to `nbd://HOST:PORT/EXPORT` and reads the first `length` bytes. */
export async function client(uri, length = 4096) {
  const { hostname, port, pathname } = new URL(uri);
  const socket = connect(Number(port), hostname);
  let held = Buffer.alloc(0);
  socket.on("data", (bytes) => (held = Buffer.concat([held, bytes])));
  // Whoever detaches by force may cut it.
  socket.on("error", () => {});
  const take = async (count) => {
    while (held.length < count) await once(socket, "data");
    const [taken, rest] = [held.subarray(0, count), held.subarray(count)];
    held = rest;
    return taken;
  };
  await take(18);
  const name = Buffer.from(decodeURIComponent(pathname.slice(1)));
  const asked = Buffer.alloc(4 + 16 + 4 + name.length + 2);
  asked.writeUInt32BE(3, 0);
  asked.writeBigUInt64BE(OPTION_MAGIC, 4);
  asked.writeUInt32BE(GO, 12);
  asked.writeUInt32BE(4 + name.length + 2, 16);
  asked.writeUInt32BE(name.length, 20);
  name.copy(asked, 24);
  socket.write(asked);
  for (;;) {
    const head = await take(20);
    const [type, size] = [head.readUInt32BE(12), head.readUInt32BE(16)];
    const told = await take(size);
    if (type === ACK) break;
    if (type >= 2 ** 31) throw new Error(`the export was refused: ${told}`);
  }
  const read = Buffer.alloc(28);
  read.writeUInt32BE(REQUEST_MAGIC, 0);
  read.writeUInt16BE(READ, 6);
  read.writeUInt32BE(length, 24);
  socket.write(read);
  await take(REPLY + length);
  return { address: `${socket.localAddress}:${socket.localPort}`, end: () => socket.destroy(), ended: once(socket, "close") };
}
