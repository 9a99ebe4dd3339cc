// The other end of a `pigeon pipe` in another implementation: node peer.mjs offer|answer THEIRS OURS
//
// It says a text and a megabyte, takes what comes until an empty message, closes the channel, and prints what it
// took as one line of JSON.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { RTCPeerConnection } from "werift";

const [side, theirs, ours] = process.argv.slice(2);
const SIZE = 1 << 20;
const pc = new RTCPeerConnection({ iceServers: [] });
const rest = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(so) {
  while (!so()) await rest(10);
}

async function show() {
  await until(() => pc.iceGatheringState === "complete");
  writeFileSync(`${ours}.part`, JSON.stringify(pc.localDescription));
  renameSync(`${ours}.part`, ours);
}

async function hear() {
  await until(() => existsSync(theirs));
  await pc.setRemoteDescription(JSON.parse(readFileSync(theirs, "utf8")));
}

async function use(channel) {
  const received = [];
  let ended = false;
  channel.onMessage.subscribe((data) => (data.length === 0 ? (ended = true) : received.push(data)));
  await until(() => channel.readyState === "open");
  channel.send("text from werift\n");
  const bytes = Buffer.from(Uint8Array.from({ length: SIZE }, (_, at) => (at % 4096) ** 2 % 251));
  for (let at = 0; at < SIZE; at += 16384) channel.send(bytes.subarray(at, at + 16384));
  await until(() => ended && channel.bufferedAmount === 0);
  channel.close();
  await until(() => channel.readyState === "closed");
  const data = Buffer.concat(received);
  const sum = createHash("sha256").update(data).digest("hex");
  console.log(JSON.stringify({ label: channel.label, bytes: data.length, sha256: sum }));
  await pc.close();
  process.exit(0);
}

if (side === "offer") {
  const channel = pc.createDataChannel("from werift");
  await pc.setLocalDescription(await pc.createOffer());
  await show();
  await hear();
  await use(channel);
} else {
  const arrived = new Promise((resolve) => pc.onDataChannel.subscribe(resolve));
  await hear();
  await pc.setLocalDescription(await pc.createAnswer());
  await show();
  await use(await arrived);
}
