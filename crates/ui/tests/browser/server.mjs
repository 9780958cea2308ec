// A controller of the test's own: the real binary on a temporary folder, which can be killed and started again at the same address.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const TENANT = "e93b4c0934da416eb9c8d120c5d04d96";
/** How long it may take to answer for the first time, in milliseconds. */
const START_MAX = 90_000;

const CONFIG = `
[[pool]]
name = "default"
overcommit = 1000000.0
reserved = 0

[[pool]]
name = "archive"
overcommit = 1000000.0
reserved = 0
`;

export class Server {
  constructor(binary, { failPoints = "", slow = 0, config = "" } = {}) {
    this.binary = binary;
    this.folder = mkdtempSync(join(tmpdir(), "berth-page-"));
    this.config = join(this.folder, "berth.toml");
    writeFileSync(this.config, CONFIG + config);
    this.failPoints = failPoints;
    this.slow = slow;
    this.listen = "127.0.0.1:0";
  }

  /** Starts it; again at the same address if it ran before. */
  async start() {
    const args = ["serve", "--config", this.config, "--data", join(this.folder, "data")];
    args.push("--listen", this.listen, "--nbd-listen", "127.0.0.1:0", "--slow-ms", String(this.slow));
    const env = { ...process.env, RUST_LOG: "error" };
    if (this.failPoints) env.BERTH_FAIL_POINTS = this.failPoints;
    this.child = spawn(this.binary, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    const line = await Promise.race([
      new Promise((resolve) => createInterface(this.child.stdout).once("line", resolve)),
      this.ended.then((code) => Promise.reject(new Error(`the controller ended with ${code}`))),
      after(START_MAX, "the controller did not start"),
    ]);
    this.base = line.replace("listening on ", "");
    this.listen = this.base.replace("http://", "");
    return this;
  }

  /** As the kernel would: nothing of it runs on. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** All that it knew is lost, as by a restored or replaced disk. */
  wipe() {
    // Its data plane outlives it.
    execFileSync(this.binary, ["data", "stop", "--force", "--data", join(this.folder, "data")], { stdio: "ignore" });
    rmSync(join(this.folder, "data"), { recursive: true, force: true });
  }

  /** Something happens while nobody who knows only its address can see it. */
  async elsewhere(act) {
    const { listen } = this;
    this.listen = "127.0.0.1:0";
    await this.start();
    await act();
    await this.kill();
    this.listen = listen;
  }

  async stop() {
    await this.kill();
    this.wipe();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async call(method, path, body) {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await fetch(`${this.base}/v1beta/${TENANT}${path}`, { method, headers, body: body && JSON.stringify(body) });
    const told = await answer.json().catch(() => null);
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${told?.message}`);
    return told;
  }

  /** A volume that is there and whole. */
  async volume(name, size = 1, more = {}) {
    const made = await this.call("POST", "/block/volumes", { name, size, ...more });
    return this.settled("volumes", made.id, "available");
  }

  /** Waits until it has this status. */
  async settled(collection, id, status) {
    const now = await this.call("GET", `/block/${collection}/${id}?waitFor=${status}&timeout=30`);
    if (now.status !== status) throw new Error(`it became ${now.status}: ${now.statusReason?.message}`);
    return now;
  }

  host(hostName, ip = "127.0.0.1") {
    return this.call("POST", "/host/hosts", { hostName, ip, accessMode: "agentless", osType: "linux" });
  }

  async attach(volumeId, hostId) {
    const made = await this.call("POST", "/block/attachments", { volumeId, hostId });
    return this.settled("attachments", made.id, "attached");
  }
}

const after = (ms, why) => new Promise((_, reject) => setTimeout(() => reject(new Error(why)), ms).unref());
